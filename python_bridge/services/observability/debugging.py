"""What a worker in debug mode shows of its inside: tasks, threads, and where the time goes."""

import asyncio
import gc
import sys
import threading
import traceback
from importlib import import_module
from types import FrameType
from typing import Any

from python_bridge.errors import BridgeError

_MAX_FRAMES = 40
_MAX_TASKS = 1000
INSTALL_PROFILER = "pip install 'pyinstrument>=5'"


def dump(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Return `tasks` and `threads` with their stacks, outermost frame first, and counts of the collector.

    Stacks are lines of file, line and function; they hold no values.
    """
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    names = {thread.ident: thread for thread in threading.enumerate()}
    return {
        "tasks": [_show_task(task) for task in tasks[:_MAX_TASKS]],
        "threads": [
            {
                "name": names[ident].name if ident in names else str(ident),
                "daemon": ident not in names or names[ident].daemon,
                "stack": _show_stack(frame),
            }
            for ident, frame in sys._current_frames().items()  # pyright: ignore[reportPrivateUsage]
        ],
        "gc": {"counts": list(gc.get_count()), "frozen": gc.get_freeze_count()},
    }


def _show_task(task: asyncio.Task[Any]) -> dict[str, Any]:
    coroutine: Any = task.get_coro()
    return {
        "name": task.get_name(),
        "coroutine": getattr(coroutine, "__qualname__", repr(coroutine)),
        "cancelling": task.cancelling(),
        "stack": _show_chain(coroutine),
    }


def _show_chain(coroutine: Any) -> list[str]:
    """Return where a suspended coroutine stands, and those that it awaits: `Task.get_stack` ends at the first."""
    lines: list[str] = []
    while coroutine is not None and len(lines) < _MAX_FRAMES:
        frame = _first(coroutine, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            lines.append(_show_frame(frame, frame.f_lineno))
        coroutine = _first(coroutine, "cr_await", "gi_yieldfrom", "ag_await")
    return lines


def _first(value: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(value, name, None)) is not None), None)


def _show_stack(frame: FrameType) -> list[str]:
    frames = list(traceback.walk_stack(frame))[:_MAX_FRAMES]
    return [_show_frame(frame, line) for frame, line in reversed(frames)]


def _show_frame(frame: FrameType, line: int) -> str:
    return f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"


async def profile(seconds: float, form: str) -> str:
    """Sample the loop's thread for so long; return the report as ``"text"`` or ``"html"``.

    Raises:
        BridgeError: `unavailable` with the line to run when pyinstrument is not installed; `conflict` when a profile
            is being made already.
    """
    try:
        module: Any = import_module("pyinstrument")
    except ImportError:
        text = f"debug.profile needs pyinstrument in the worker's Python; run: {INSTALL_PROFILER}"
        raise BridgeError("unavailable", text, retryable=False) from None
    # "disabled" samples all that the thread does, and not this task alone, which only sleeps.
    profiler: Any = module.Profiler(async_mode="disabled")
    try:
        profiler.start()
    except RuntimeError:
        raise BridgeError("conflict", "a profile is being made already; wait for it", retry_after=seconds) from None
    try:
        await asyncio.sleep(seconds)
    finally:
        profiler.stop()
    return str(profiler.output_html() if form == "html" else profiler.output_text(unicode=True, color=False))


__all__ = ["INSTALL_PROFILER", "dump", "profile"]
