"""Processor time of one execution: of its own task, and of the threads that it works in."""

import contextlib
import threading
import time
from collections.abc import Awaitable, Generator, Iterator
from contextvars import ContextVar
from typing import Any


class CpuMeter:
    """Adds up processor time in seconds. Tasks and threads that a program starts by itself are not seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent = 0.0
        self._threads: dict[int, tuple[int, float]] = {}

    def add(self, seconds: float) -> None:
        """Add time that was spent."""
        with self._lock:
            self._spent += seconds

    def seconds(self) -> float:
        """Return the time so far, with that of threads that still work."""
        with self._lock:
            working = sum(max(0.0, time.clock_gettime(clock) - began) for clock, began in self._threads.values())
            return self._spent + working

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[None]:
        """Count the calling thread until the end of the block."""
        ident, began = threading.get_ident(), time.thread_time()
        with self._lock:
            self._threads[ident] = time.pthread_getcpuclockid(ident), began
        try:
            yield
        finally:
            with self._lock:
                del self._threads[ident]
                self._spent += time.thread_time() - began


class Metered:
    """Awaits `work` and counts each of its steps on the loop."""

    def __init__(self, work: Awaitable[Any], meter: CpuMeter) -> None:
        self._work = work
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._work.__await__()
        step, value = inner.send, None
        while True:
            began = time.thread_time()
            try:
                awaited = step(value)
            except StopIteration as done:
                return done.value
            finally:
                self._meter.add(time.thread_time() - began)
            try:
                value = yield awaited
                step = inner.send
            except BaseException as error:  # as when it is cancelled: the work decides what becomes of it
                step, value = inner.throw, error


current_meter: ContextVar[CpuMeter | None] = ContextVar("python_bridge_cpu_meter", default=None)
"""The meter of the execution that runs now; threads count for it."""

__all__ = ["CpuMeter", "Metered", "current_meter"]
