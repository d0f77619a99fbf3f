"""`StreamTelemetry`: what the tools do, in the names that Snakepit takes."""

import asyncio
import fnmatch
import math
import random
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge.errors import BridgeError

NAMES = frozenset(
    {
        *(f"python.call.{step}" for step in ("start", "stop", "exception")),
        *(f"tool.execution.{step}" for step in ("start", "stop", "exception")),
        "python.memory.sampled",
        "python.cpu.sampled",
        "python.gc.completed",
        "python.error.occurred",
        "tool.result_size",
    }
)
_MAX_WAITING = 1024


class Feed:
    """What one stream gets: a bounded queue behind the client's wishes. The oldest events leave first."""

    def __init__(self) -> None:
        self.enabled = True
        self.rate = 1.0
        self.patterns: tuple[str, ...] = ()
        self.allow: tuple[str, ...] = ()
        self.deny: tuple[str, ...] = ()
        self._waiting: deque[pb.TelemetryEvent] = deque(maxlen=_MAX_WAITING)
        self._arrived = asyncio.Event()

    def control(self, message: pb.TelemetryControl) -> None:
        """Do as the client wishes from now on."""
        kind = message.WhichOneof("control")
        if kind == "toggle":
            self.enabled = message.toggle.enabled
        elif kind == "sampling":
            rate = message.sampling.sampling_rate
            self.rate = 1.0 if math.isnan(rate) else min(max(rate, 0.0), 1.0)
            self.patterns = tuple(message.sampling.event_patterns)
        elif kind == "filter":
            self.allow, self.deny = tuple(message.filter.allow), tuple(message.filter.deny)

    def wants(self, name: str) -> bool:
        """Whether an event of this name is to be sent now."""
        if not self.enabled or name not in NAMES or _matches(name, self.deny):
            return False
        if self.allow and not _matches(name, self.allow):
            return False
        sampled = not self.patterns or _matches(name, self.patterns)
        return not sampled or random.random() < self.rate

    def put(self, event: pb.TelemetryEvent) -> None:
        """Queue an event."""
        self._waiting.append(event)
        self._arrived.set()

    async def get(self) -> pb.TelemetryEvent:
        """Return the next event, waiting for it."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Telemetry:
    """All streams of one worker."""

    def __init__(self) -> None:
        self.feeds: set[Feed] = set()

    def tell(self, name: str, measurements: Mapping[str, float], metadata: dict[str, str], correlation: str) -> None:
        """Send an event to whoever wants it; costs nothing when nobody listens."""
        wanted = [feed for feed in self.feeds if feed.wants(name)]
        if not wanted:
            return
        event = pb.TelemetryEvent(
            event_parts=name.split("."),
            measurements={key: _value(value) for key, value in measurements.items()},
            metadata=metadata,
            timestamp_ns=time.time_ns(),
            correlation_id=correlation,
        )
        for feed in wanted:
            feed.put(event)

    @contextmanager
    def span(self, name: str, metadata: dict[str, str], correlation: str) -> Iterator[None]:
        """Tell of the begin and the end of something: `.start`, and `.stop` or `.exception`. Times are ns."""
        started = time.monotonic_ns()
        self.tell(f"{name}.start", {"count": 1, "system_time": time.time_ns()}, metadata, correlation)
        try:
            yield
        except BaseException as exception:
            kind = exception.kind if isinstance(exception, BridgeError) else type(exception).__name__
            spent = {"count": 1, "duration": time.monotonic_ns() - started}
            self.tell(f"{name}.exception", spent, {**metadata, "kind": kind}, correlation)
            raise
        self.tell(f"{name}.stop", {"count": 1, "duration": time.monotonic_ns() - started}, metadata, correlation)


def _value(value: float) -> Any:
    return pb.TelemetryValue(int_value=value) if isinstance(value, int) else pb.TelemetryValue(float_value=value)


__all__ = ["NAMES", "Feed", "Telemetry"]
