"""A gate that tasks and threads wait at: tests steer with it instead of sleeping."""

import asyncio
import threading
import time


class Gate:
    """Closed until `open` is called; then open for good. Usable from any thread and any event loop.

    Attributes:
        opened_at: `time.monotonic()` of the opening, ``None`` before.
    """

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def open(self) -> None:
        """Let everybody through. Opening an open gate does nothing."""
        with self._lock:
            if self.is_open:
                return
            self.opened_at = time.monotonic()
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            loop.call_soon_threadsafe(_resolve, future)

    def wait(self, timeout: float | None = 30.0) -> None:
        """Block this thread until the gate opens.

        Raises:
            TimeoutError: after `timeout` seconds.
        """
        if not self._event.wait(timeout):
            raise TimeoutError(f"the gate did not open within {timeout} s")

    async def passed(self, within: float | None = 30.0) -> None:
        """Wait in this task until the gate opens.

        Raises:
            TimeoutError: after `within` seconds; ``None`` waits for ever.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.is_open:
                return
            entry = (loop, loop.create_future())
            self._waiters.append(entry)
        try:
            async with asyncio.timeout(within):
                await entry[1]
        finally:
            with self._lock:
                if entry in self._waiters:
                    self._waiters.remove(entry)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


__all__ = ["Gate"]
