"""Which failed requests are sent again, and when."""

import random

from python_bridge.errors import BridgeError

_NEVER_RUN = frozenset({"overloaded"})
"""The server refused before it did anything."""
_MAY_HAVE_RUN = frozenset({"unavailable", "worker_lost", "conflict"})


class Retries:
    """Counts the retries of one request.

    Waits as long as the server asks for, else `base` · 2ⁿ seconds, at most `cap`, of which a random half is left out,
    so that clients who failed together do not return together.

    Args:
        limit: retries after the first attempt.
        repeatable: whether the request may be done twice.
        longest: the longest wait that is worth it, in seconds; a server that asks for more gets no retry.
    """

    def __init__(
        self, limit: int, *, repeatable: bool, base: float = 0.1, cap: float = 5.0, longest: float = 60.0
    ) -> None:
        self._left = limit
        self._repeatable = repeatable
        self._base = base
        self._cap = cap
        self._longest = longest

    def delay(self, error: BridgeError, *, sent: bool = True) -> float | None:
        """Return the seconds to wait before the next attempt, ``None`` when `error` is final.

        Args:
            sent: whether the request may have reached the server.
        """
        if self._left < 1 or not error.retryable or not self._allowed(error, sent):
            return None
        self._left -= 1
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self._longest else None
        wait, self._base = min(self._base, self._cap), self._base * 2
        return wait * random.uniform(0.5, 1.0)

    def _allowed(self, error: BridgeError, sent: bool) -> bool:
        if not sent or error.kind in _NEVER_RUN:
            return True
        if error.kind == "conflict" and error.retry_after is None:
            return False
        return self._repeatable and error.kind in _MAY_HAVE_RUN


__all__ = ["Retries"]
