"""Step: what an execution may spend of memory and processor time, looked at while it works."""

import asyncio

from python_bridge.engine.cpu import CpuMeter, Metered, current_meter
from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next
from python_bridge.services.health import rss_bytes

_PERIOD_S = 0.05


async def enforce(execution: Execution, proceed: Next) -> CallResult:
    """Stop an execution above its `max_memory_bytes` or `max_cpu_seconds`.

    Processor time is the execution's own: of its task and of its thread, without tasks and threads that the program
    starts by itself. Memory is the growth of the whole process meanwhile: executions that run side by side count for
    each other. A program that holds the event loop is stopped when it lets go of it. LM calls and tokens are counted by
    the execution's instruments.

    Raises:
        BridgeError: `limit_exceeded`.
    """
    limits = execution.limits
    if limits.max_memory_bytes is None and limits.max_cpu_seconds is None:
        return await proceed(execution)
    memory, meter = rss_bytes(), CpuMeter()
    task = _begin(execution, proceed, meter)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_PERIOD_S)
            if limits.max_memory_bytes is not None and rss_bytes() - memory > limits.max_memory_bytes:
                raise _grown(limits.max_memory_bytes)
            if limits.max_cpu_seconds is not None and meter.seconds() > limits.max_cpu_seconds:
                raise _exceeded("max_cpu_seconds", f"{limits.max_cpu_seconds:g} s of processor time")
        return task.result()
    finally:
        task.cancel()


def _begin(execution: Execution, proceed: Next, meter: CpuMeter) -> "asyncio.Task[CallResult]":
    async def work() -> CallResult:
        return await Metered(proceed(execution), meter)

    token = current_meter.set(meter)  # the task's context is a copy of this one
    try:
        return asyncio.create_task(work())
    finally:
        current_meter.reset(token)


def _grown(limit: int) -> BridgeError:
    text = f"the process grew by more than {limit} bytes while the execution ran (max_memory_bytes); raise the limit"
    words = f"{text}, let fewer executions run beside it, or make the program smaller"
    return BridgeError("limit_exceeded", words, details={"limit": "max_memory_bytes"})


def _exceeded(name: str, words: str) -> BridgeError:
    text = f"the execution needs more than {words} ({name}); raise the limit or make the program smaller"
    return BridgeError("limit_exceeded", text, details={"limit": name})


__all__ = ["enforce"]
