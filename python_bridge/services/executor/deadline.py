"""Step: the whole execution ends in time, and so does its work."""

import asyncio
from typing import Any

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next

MAX_ABANDONED = 32


class Deadline:
    """Stops what takes longer than `Execution.timeout`.

    The caller gets its error at once. Work that does not heed its cancellation is abandoned: it is counted until it
    has ended, and with too many of them new work is refused.

    Args:
        max_abandoned: abandoned executions from which on new ones are refused.
    """

    def __init__(self, max_abandoned: int = MAX_ABANDONED) -> None:
        self._max = max_abandoned
        self._abandoned: set[asyncio.Task[Any]] = set()

    @property
    def abandoned(self) -> int:
        """Executions that were given up and still run."""
        return len(self._abandoned)

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult:
        """
        Raises:
            BridgeError: `timeout` (``Execution timeout after N seconds``); `overloaded` with too many abandoned ones.
        """
        if len(self._abandoned) >= self._max:
            text = f"{len(self._abandoned)} executions that timed out still run; wait for them, or restart the process"
            raise BridgeError("overloaded", text, retryable=False, details={"limit": "abandoned_executions"})
        if execution.timeout is None:
            return await proceed(execution)
        loop = asyncio.get_running_loop()
        task: asyncio.Task[CallResult] = loop.create_task(_run(execution, proceed))
        over = loop.create_future()  # cheaper than `asyncio.wait`
        timer = loop.call_later(execution.timeout, _resolve, over)
        task.add_done_callback(lambda _: _resolve(over))
        try:
            await over
        finally:
            timer.cancel()
            if not task.done():
                self._give_up(task)
        if task.done():
            return task.result()
        raise timed_out(execution.timeout)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as forgotten


async def _run(execution: Execution, proceed: Next) -> CallResult:
    return await proceed(execution)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def timed_out(seconds: float) -> BridgeError:
    """The error of an execution that took too long."""
    return BridgeError("timeout", f"Execution timeout after {seconds:g} seconds", details={"timeout": seconds})


__all__ = ["MAX_ABANDONED", "Deadline", "timed_out"]
