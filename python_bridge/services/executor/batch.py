"""Many inputs for one program: in order, in parallel, each with a result of its own."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from python_bridge.services.executor.model import ExecutionResult

Progress = Callable[[int, int, ExecutionResult], object]
"""Takes how many are done, how many there are, and the latest result."""

logger = logging.getLogger("python_bridge.executor")
_LOOK_S = 0.05


async def run_batch(
    items: Sequence[Any],
    run_one: Callable[[Any], Awaitable[ExecutionResult]],
    skipped: Callable[[Any], ExecutionResult],
    *,
    parallel: int,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> list[ExecutionResult]:
    """Run every item and return the results in the order of the items.

    The tasks that run items wait for nothing but items, so no number of items can starve them; an item's deadline
    begins when its work does.

    Args:
        skipped: makes the result of an item that was not finished because of `cancel`.
        parallel: items at work at a time.
        cancel: when it is set, no further item begins, and those at work are cancelled.
    """
    results: list[ExecutionResult | None] = [None] * len(items)
    waiting = iter(enumerate(items))
    done = 0

    async def work() -> None:
        nonlocal done
        for index, item in waiting:
            if cancel is not None and cancel.is_set():
                return
            result = results[index] = await run_one(item)
            done += 1
            if progress is not None:
                _tell(progress, done, len(items), result)

    workers = [asyncio.create_task(work()) for _ in range(min(parallel, len(items)))]
    try:
        await _wait(workers, cancel)
    finally:
        for worker in workers:
            worker.cancel()
    return [skipped(item) if result is None else result for item, result in zip(items, results, strict=True)]


async def _wait(workers: list[asyncio.Task[None]], cancel: threading.Event | None) -> None:
    pending: set[asyncio.Task[None]] = set(workers)
    while pending and not (cancel is not None and cancel.is_set()):
        done, pending = await asyncio.wait(pending, timeout=None if cancel is None else _LOOK_S)
        for worker in done:
            worker.result()


def _tell(progress: Progress, done: int, total: int, result: ExecutionResult) -> None:
    try:
        progress(done, total, result)
    except Exception:  # a display that fails must not end the work
        logger.exception("the progress callback of a batch failed")


__all__ = ["Progress", "run_batch"]
