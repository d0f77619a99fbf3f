"""An event loop in a thread of its own, for callers that have none."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from python_bridge.errors import BridgeError

logger = logging.getLogger("python_bridge.executor")
T = TypeVar("T")


class LoopThread:
    """Starts with the first work. After a fork, the child starts its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._pid = 0
        self._stopped = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop.

        Raises:
            BridgeError: `unavailable` after `stop`.
        """
        loop = self._loop
        return loop if loop is not None and self._pid == os.getpid() else self._start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run `work` there, with this thread's context, and wait for what it gives; leaving cancels it.

        Raises:
            BridgeError: `unavailable` after `stop`, `invalid_request` on the loop itself, which would wait for ever.
            TimeoutError: nothing came within `timeout` seconds: something holds the loop.
            concurrent.futures.CancelledError: the work was cancelled, as by `stop`.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []
        context = contextvars.copy_context()

        def start() -> None:
            if self._stopped or future.done():
                future.cancel()
                return
            task = loop.create_task(work, context=context)
            tasks.append(task)
            task.add_done_callback(lambda task: _settle(future, task))

        try:
            loop = self._checked_loop()
            self._waiting.add(future)
            try:
                loop.call_soon_threadsafe(start)
                return future.result(timeout)
            finally:
                self._waiting.discard(future)
                if not future.done() or future.cancelled():
                    future.cancel()
                    _cancel(loop, tasks)
        finally:
            if not tasks:
                work.close()

    def stop(self) -> None:
        """End the loop and its thread; what still runs there is cancelled. It does not start again."""
        with self._lock:
            loop, self._loop, self._stopped = self._loop, None, True
        if loop is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)

    def _checked_loop(self) -> asyncio.AbstractEventLoop:
        loop = self.loop
        if threading.current_thread() is self._thread:
            text = "execute() would hold up the event loop that it was called on; write `await executor.aexecute(…)`"
            raise BridgeError("invalid_request", f"{text} in asynchronous programs")
        return loop

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopped:
                raise BridgeError("unavailable", "the executor was shut down; make another one", retryable=False)
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid, self._waiting = _new_loop(), os.getpid(), set()
                arguments = (self._loop, self._waiting)
                self._thread = threading.Thread(target=_serve, args=arguments, name=self._name, daemon=True)
                self._thread.start()
            return self._loop


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.new_event_loop()
    return new_event_loop()


def _settle(future: "concurrent.futures.Future[Any]", task: "asyncio.Task[Any]") -> None:
    error = None if task.cancelled() else task.exception()
    if future.done():
        return
    if task.cancelled():
        future.cancel()
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _cancel(loop: asyncio.AbstractEventLoop, tasks: list[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # it was closed meanwhile, and its tasks with it
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])


def _serve(loop: asyncio.AbstractEventLoop, waiting: "set[concurrent.futures.Future[Any]]") -> None:
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
            break
        except (SystemExit, KeyboardInterrupt) as error:  # a task of a program's own raised it; the others go on
            logger.warning("a task of a program raised %s; the executor goes on", type(error).__name__)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    for future in list(waiting):
        future.cancel()


__all__ = ["LoopThread"]
