"""Threads for modules that have no asynchronous form: bounded, counted when they are abandoned."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

import anyio
import anyio.to_thread

from python_bridge.engine.cpu import current_meter
from python_bridge.errors import BridgeError

MAX_LEVELS = 16

T = TypeVar("T")
_level: ContextVar[int] = ContextVar("python_bridge_thread_level", default=0)


class Threads:
    """Runs synchronous work beside the loop.

    Work within work, as of a program that executes another one, has threads of its own: those that wait for it never
    stand in its way.

    A cancelled call leaves its thread behind: the thread ends at its next LM or tool call, and is counted until then.

    Args:
        limit: threads at work at a time, on each level.
        abandoned_limit: abandoned threads from which on new work is refused.
    """

    def __init__(self, limit: int = 64, abandoned_limit: int = 32) -> None:
        self._limit = limit
        self._abandoned_limit = abandoned_limit
        self._limiters: list[anyio.CapacityLimiter] = []
        self._lock = threading.Lock()
        self.abandoned = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread with this task's context.

        Raises:
            BridgeError: `overloaded` when too many abandoned threads are left, `limit_exceeded` for work that is
                nested too deep.
        """
        if self.abandoned >= self._abandoned_limit:
            raise BridgeError(
                "overloaded",
                f"{self.abandoned} threads of cancelled calls still run; this worker must be replaced",
                details={"limit": "abandoned_threads"},
            )
        state = _State(_level.get())
        try:
            return await anyio.to_thread.run_sync(
                lambda: self._work(work, state), abandon_on_cancel=True, limiter=self._limiter(state.level)
            )
        except BaseException:
            with self._lock:
                if state.running:
                    state.abandoned = True
                    self.abandoned += 1
            raise

    def _limiter(self, level: int) -> anyio.CapacityLimiter:
        if level >= MAX_LEVELS:
            text = f"programs execute one another in threads more than {MAX_LEVELS} levels deep; make them flatter"
            raise BridgeError("limit_exceeded", text, details={"limit": "thread_levels"})
        while len(self._limiters) <= level:
            self._limiters.append(anyio.CapacityLimiter(self._limit))
        return self._limiters[level]

    def _work(self, work: Callable[[], T], state: "_State") -> T:
        state.running = True
        _level.set(state.level + 1)  # this thread's context is a copy: what it calls sees it, and nothing else does
        meter = current_meter.get()
        try:
            if meter is None:
                return work()
            with meter.in_thread():
                return work()
        except (KeyboardInterrupt, GeneratorExit, StopIteration) as error:  # a loop would make something else of them
            raise RuntimeError(f"{type(error).__name__} {error}".rstrip()) from error
        finally:
            with self._lock:
                state.running = False
                if state.abandoned:
                    self.abandoned -= 1


class _State:
    """Whether one piece of work is under way, and whether anybody still waits for it."""

    __slots__ = ("abandoned", "level", "running")

    def __init__(self, level: int) -> None:
        self.level = level
        self.running = False
        self.abandoned = False


__all__ = ["Threads"]
