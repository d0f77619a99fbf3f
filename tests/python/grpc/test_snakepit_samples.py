"""Samples of memory and processor for Snakepit."""

import asyncio
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.transports.grpc.snakepit.samples import Samples
from python_bridge.transports.grpc.snakepit.telemetry import Feed, Telemetry

pytestmark = [pytest.mark.anyio, pytest.mark.req("NFR5.2.4")]


class Worker:
    """Needs 1 s of the processor and two young collections between any two questions."""

    def __init__(self) -> None:
        self.asked = 0

    async def status(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 4:
            raise BridgeError("worker_lost", "gone")
        young = {"collections": 2 * self.asked, "collected": 100 * self.asked, "uncollectable": 0}
        old = {"collections": 7, "collected": 7, "uncollectable": 0}
        return {"rss_bytes": self.asked * 1024, "cpu_ms": self.asked * 1000.0, "gc": [young, old]}


def listened() -> tuple[Telemetry, Feed]:
    telemetry, feed = Telemetry(), Feed()
    telemetry.feeds.add(feed)
    return telemetry, feed


async def test_memory_and_processor_are_told_until_the_worker_is_gone() -> None:
    telemetry, feed = listened()
    samples = Samples(telemetry, Worker().status, 0.001)
    samples.start()
    events = [await feed.get() for _ in range(7)]
    names = [".".join(event.event_parts) for event in events]
    each = ["python.memory.sampled", "python.cpu.sampled", "python.gc.completed"]
    assert names == ["python.memory.sampled", *each * 2]
    assert [e.measurements["rss_bytes"].int_value for e in events if "memory" in e.event_parts] == [1024, 2048, 3072]
    assert events[2].measurements["cpu_percent"].float_value > 0
    young = events[3]
    assert (young.measurements["count"].int_value, young.measurements["collected"].int_value) == (2, 100)
    assert young.metadata["generation"] == "0"
    samples.stop()


async def test_nobody_is_asked_when_nobody_listens() -> None:
    telemetry, _ = listened()
    worker = Worker()
    samples = Samples(telemetry, worker.status, 3600.0)
    samples.start()
    samples.start()
    samples.stop()
    await asyncio.sleep(0)
    assert worker.asked == 1
    samples.stop()
    samples.start()
    await asyncio.sleep(0)
    assert worker.asked == 2
    samples.stop()
