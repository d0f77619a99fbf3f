"""A circuit breaker: after failures in a row it lets nothing through for a while, then one call to try."""

import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next

MAX_BREAKERS = 1024


class Breaker:
    """The state for one LM. Safe for threads; no lock is held while work runs.

    Args:
        threshold: transient failures in a row that open it.
        reset_after: seconds until one call is let through to try.
        clock: gives seconds.
    """

    def __init__(self, threshold: int = 5, reset_after: float = 30.0, clock: Callable[[], float] = time.monotonic):
        self._threshold = threshold
        self._reset_after = reset_after
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """``"closed"``, ``"open"`` or ``"half_open"``."""
        if self._opened is None:
            return "closed"
        return "half_open" if self._clock() - self._opened >= self._reset_after else "open"

    def enter(self) -> float | None:
        """Ask for leave: ``None`` grants it; otherwise the seconds to wait."""
        opened = self._opened
        if opened is None:  # without the lock: whoever opens it now is a moment too late for this call
            return None
        with self._lock:
            if self._opened is None:
                return None
            left = self._opened + self._reset_after - self._clock()
            if left <= 0 and not self._probing:
                self._probing = True
                return None
            return max(left, 0.1)

    def leave(self, failed: bool | None) -> None:
        """Tell how the work went; ``None`` when it says nothing of the LM (cancelled, wrong inputs)."""
        if not failed and self._failures == 0 and self._opened is None:
            return
        with self._lock:
            self._probing = False
            if failed is None:
                return
            if not failed:
                self._failures, self._opened = 0, None
                return
            self._failures += 1
            if self._failures >= self._threshold or self._opened is not None:
                self._opened = self._clock()


class Breakers:
    """Step: one breaker for each program's LM.

    Args:
        make: makes a breaker.
    """

    def __init__(self, make: Callable[[], Breaker] = Breaker) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._breakers: LRUCache[str, Breaker] = LRUCache(MAX_BREAKERS)

    def of(self, execution: Execution) -> Breaker:
        """Return the breaker of an execution."""
        name = execution.identify().text.partition("|")[2]
        with self._lock:
            if (found := self._breakers.get(name)) is None:
                found = self._breakers[name] = self._make()
            return found

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult:
        """
        Raises:
            BridgeError: `unavailable` while the breaker is open; nothing was run then.
        """
        breaker = self.of(execution)
        if (wait := breaker.enter()) is not None:
            raise _open(wait)
        failed: bool | None = None
        try:
            result = await proceed(execution)
            failed = False
            return result
        except BridgeError as error:
            failed = True if error.kind == "lm_error" and error.retryable else None
            raise
        finally:
            breaker.leave(failed)


def _open(wait: float) -> BridgeError:
    return BridgeError(
        "unavailable",
        f"the language model failed too often in a row; nothing is sent to it for {wait:.1f} s",
        retryable=False,
        retry_after=round(wait, 3),
        details={"limit": "circuit_breaker"},
    )


__all__ = ["Breaker", "Breakers"]
