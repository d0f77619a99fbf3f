"""Step: what an execution may spend of the process, looked at while it works."""

import asyncio
import time

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next
from python_bridge.services.health import rss_bytes

_PERIOD_S = 0.05


async def enforce(execution: Execution, proceed: Next) -> CallResult:
    """Stop an execution above its `max_memory_bytes` or `max_cpu_seconds`.

    Both are the process's own growth meanwhile: executions that run side by side count for each other. LM calls and
    tokens are counted by the execution's instruments.

    Raises:
        BridgeError: `limit_exceeded`.
    """
    limits = execution.limits
    if limits.max_memory_bytes is None and limits.max_cpu_seconds is None:
        return await proceed(execution)
    memory, cpu = rss_bytes(), time.process_time()
    task: asyncio.Task[CallResult] = asyncio.ensure_future(proceed(execution))  # pyright: ignore[reportAssignmentType]
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_PERIOD_S)
            if limits.max_memory_bytes is not None and rss_bytes() - memory > limits.max_memory_bytes:
                raise _exceeded("max_memory_bytes", f"{limits.max_memory_bytes} bytes of memory")
            if limits.max_cpu_seconds is not None and time.process_time() - cpu > limits.max_cpu_seconds:
                raise _exceeded("max_cpu_seconds", f"{limits.max_cpu_seconds:g} s of processor time")
        return task.result()
    finally:
        task.cancel()


def _exceeded(name: str, words: str) -> BridgeError:
    text = f"the execution needs more than {words} ({name}); raise the limit or make the program smaller"
    return BridgeError("limit_exceeded", text, details={"limit": name})


__all__ = ["enforce"]
