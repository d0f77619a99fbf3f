"""Which of the processes that share a file are alive: each holds a lock, which the system gives back when it ends."""

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from python_bridge.errors import BridgeError


class Owners:
    """The processes that have `path` open.

    Each keeps ``<name>.<id>.lock`` beside it, locked for as long as it lives; so a process that was killed, or one of
    another container, is known to be gone without its number.

    Attributes:
        me: this process's id.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            BridgeError: `unavailable` when the file system has no locks.
        """
        self._path = path
        self.me = secrets.token_hex(8)
        self._remove_dead()
        self._mine = self._file(self.me)
        made = self._mine.with_suffix(".new")
        try:
            self._fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            made.replace(self._mine)  # nobody finds it without its lock
        except OSError as error:
            text = f"{made} cannot be made and locked ({error.strerror}); set a state folder on a local disk"
            raise BridgeError("unavailable", text, retryable=False) from error

    def lives(self, owner: str | None) -> bool:
        """Return whether the process with this id is still there."""
        if owner is None:
            return False
        return owner == self.me or self._is_locked(self._file(owner))

    def close(self) -> None:
        """Give the lock back."""
        with contextlib.suppress(OSError):
            self._mine.unlink()
        os.close(self._fd)

    def _file(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{owner}.lock")

    def _remove_dead(self) -> None:
        for file in self._path.parent.glob(f"{self._path.name}.*.lock"):
            if not self._is_locked(file):
                with contextlib.suppress(OSError):
                    file.unlink()

    @staticmethod
    def _is_locked(file: Path) -> bool:
        try:
            fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # those that look do not take one another for the owner
        except OSError:
            return True
        finally:
            os.close(fd)
        return False


__all__ = ["Owners"]
