"""Threads for modules that have no asynchronous form: bounded, counted when they are abandoned."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from python_bridge.errors import BridgeError

T = TypeVar("T")


class Threads:
    """Runs synchronous work beside the loop.

    A cancelled call leaves its thread behind: the thread ends at its next LM or tool call, and is counted until then.

    Args:
        limit: threads at work at a time.
        abandoned_limit: abandoned threads from which on new work is refused.
    """

    def __init__(self, limit: int = 64, abandoned_limit: int = 32) -> None:
        self._limit = limit
        self._abandoned_limit = abandoned_limit
        self._limiter: anyio.CapacityLimiter | None = None
        self.abandoned = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread with this task's context.

        Raises:
            BridgeError: `overloaded` when too many abandoned threads are left.
        """
        if self.abandoned >= self._abandoned_limit:
            raise BridgeError(
                "overloaded",
                f"{self.abandoned} threads of cancelled calls still run; this worker must be replaced",
                details={"limit": "abandoned_threads"},
            )
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._limit)
        state = _State()
        try:
            return await anyio.to_thread.run_sync(
                lambda: self._work(work, state), abandon_on_cancel=True, limiter=self._limiter
            )
        except BaseException:
            if state.running:
                state.abandoned = True
                self.abandoned += 1
            raise

    def _work(self, work: Callable[[], T], state: "_State") -> T:
        state.running = True
        try:
            return work()
        finally:
            state.running = False
            if state.abandoned:
                self.abandoned -= 1


class _State:
    """Whether one piece of work is under way, and whether anybody still waits for it."""

    __slots__ = ("abandoned", "running")

    def __init__(self) -> None:
        self.running = False
        self.abandoned = False


__all__ = ["Threads"]
