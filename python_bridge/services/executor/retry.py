"""Step: failures that may pass are tried again, after a wait."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next

_TRANSIENT = frozenset({"lm_error", "unavailable", "overloaded"})


class Retry:
    """Tries again at most `max_retries` times after the first attempt.

    Waits what the provider asks for (`retry_after`), else `base` · 2ⁿ seconds, at most `cap`, of which a random half
    is left out, so that callers who failed together do not return together.

    Args:
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        max_retries: int,
        *,
        base: float = 0.5,
        cap: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._max = max_retries
        self._base = base
        self._cap = cap
        self._sleep = sleep

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult:
        """
        Raises:
            BridgeError: that of the last attempt.
        """
        retries, allowed = 0, self._max if execution.retries is None else execution.retries
        while True:
            execution.notes["attempts"] = execution.notes.get("attempts", 0) + 1
            try:
                return await proceed(execution)
            except BridgeError as error:
                if retries >= allowed or not is_transient(error):
                    raise
                delay = self._delay(error, retries)
                if execution.timeout is not None and delay >= execution.timeout:
                    raise
                retries += 1
                waits: list[float] = execution.notes.setdefault("retry_waits", [])
                waits.append(round(delay, 3))
                await self._sleep(delay)

    def _delay(self, error: BridgeError, retries: int) -> float:
        if error.retry_after is not None:
            return max(0.0, error.retry_after)
        return min(self._cap, self._base * 2.0**retries) * random.uniform(0.5, 1.0)


def is_transient(error: BridgeError) -> bool:
    """Whether the same work may succeed later: told by the error's kind and type, never by its text."""
    return error.retryable and error.kind in _TRANSIENT


__all__ = ["Retry", "is_transient"]
