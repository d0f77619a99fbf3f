"""What the monitor of a worker takes for a reason to replace it."""

import asyncio

import pytest

from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.lifecycle import EXIT_RECYCLE
from python_bridge.services.limits.monitor import Monitor
from python_bridge.services.limits.policy import RecyclePolicy
from python_bridge.settings import Settings


@pytest.mark.anyio
@pytest.mark.req("NFR3.2.4")
async def test_what_is_gone_at_the_next_look_was_not_abandoned() -> None:
    found = [9, 0, 9, 0, 9, 9]
    looks: list[int] = []

    def abandoned_threads() -> int:
        looks.append(found[len(looks)] if len(looks) < len(found) else 0)
        return looks[-1]

    dispatcher = Dispatcher({}, Settings())
    monitor = Monitor(dispatcher, RecyclePolicy(abandoned=5), abandoned_threads, period_ms=1, grace_ms=0)
    monitor.start()
    async with asyncio.timeout(30):
        assert await dispatcher.ended == EXIT_RECYCLE
    monitor.stop()
    assert looks[: len(found)] == found
