"""What the worker process needs of memory and processor, and what it collects, told while somebody listens."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.transports.grpc.snakepit.telemetry import Telemetry

Status = Callable[[], Awaitable[dict[str, Any]]]
"""Asks the worker for its `worker/status`."""
_EVERY_S = 10.0


class Samples:
    """Tells `python.memory.sampled`, `python.cpu.sampled` and, of collections since the last, `python.gc.completed`.

    Args:
        every_s: seconds between two samples; the first one comes at once.
    """

    def __init__(self, telemetry: Telemetry, status: Status, every_s: float = _EVERY_S) -> None:
        self._telemetry = telemetry
        self._status = status
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._listeners = 0

    def start(self) -> None:
        """Count one listener more."""
        self._listeners += 1
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())

    def stop(self) -> None:
        """Count one listener less; nothing is asked when there is none."""
        self._listeners -= 1
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        before: tuple[float, float] | None = None
        collected: list[dict[str, int]] | None = None
        with contextlib.suppress(BridgeError):  # the worker is gone, and the front ends with it
            while True:
                status, now = await self._status(), time.monotonic()
                memory = {"rss_bytes": int(status["rss_bytes"])}
                self._telemetry.tell("python.memory.sampled", memory, {}, "")
                if before is not None:
                    percent = (status["cpu_ms"] - before[1]) / (now - before[0]) / 10
                    self._telemetry.tell("python.cpu.sampled", {"cpu_percent": percent}, {}, "")
                before = now, float(status["cpu_ms"])
                self._tell_collections(collected, status["gc"])
                collected = status["gc"]
                await asyncio.sleep(self._every_s)

    def _tell_collections(self, before: list[dict[str, int]] | None, now: list[dict[str, int]]) -> None:
        """Tell of the collections between two samples, one event for each generation that had any."""
        for generation, (old, new) in enumerate(zip(before or (), now, strict=False)):
            since = {name: new[name] - old[name] for name in ("collections", "collected")}
            if since["collections"] > 0:
                measured = {"count": since["collections"], "collected": since["collected"]}
                self._telemetry.tell("python.gc.completed", measured, {"generation": str(generation)}, "")


__all__ = ["Samples", "Status"]
