"""The sessions that this worker owns and keeps in memory: bounded, the least recently used go first."""

from collections import OrderedDict
from dataclasses import dataclass

from python_bridge.services.sessions.state import SessionState
from python_bridge.services.sessions.turns import SessionKey


@dataclass(slots=True)
class Owned:
    """A session as this worker last wrote or read it.

    Attributes:
        document_size: bytes of what is stored as one document.
        digests: key → hash and end (ms since 1970) of the answers that hold.
        complete: whether `digests` has all of them.
    """

    state: SessionState
    epoch: int
    version: int
    document_size: int
    digests: dict[str, tuple[str, int]]
    complete: bool

    @property
    def size(self) -> int:
        """Bytes that it takes as JSON."""
        return self.document_size + self.state.history.size


class OwnedSessions:
    """Takes what calls are done with, and gives it to the next call on the same session."""

    def __init__(self, max_sessions: int, max_bytes: int) -> None:
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sessions: OrderedDict[SessionKey, Owned] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, key: SessionKey) -> Owned | None:
        """Return the session and forget it: a call that fails in between leaves nothing half changed."""
        owned = self._sessions.pop(key, None)
        if owned is not None:
            self._bytes -= owned.size
        return owned

    def keep(self, key: SessionKey, owned: Owned) -> None:
        """Keep a session until there is no room for it."""
        self.take(key)
        self._sessions[key] = owned
        self._bytes += owned.size
        while self._sessions and (len(self._sessions) > self._max_sessions or self._bytes > self._max_bytes):
            _, evicted = self._sessions.popitem(last=False)
            self._bytes -= evicted.size

    def drop_expired(self, now: int) -> None:
        """Forget what has expired."""
        for key in [key for key, owned in self._sessions.items() if owned.state.expires_at <= now]:
            self.take(key)


__all__ = ["Owned", "OwnedSessions"]
