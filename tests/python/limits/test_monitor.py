"""What the monitor of a worker takes for a reason to replace it."""

import asyncio
from typing import cast

import pytest

from python_bridge.services.call import Call
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


@pytest.mark.anyio
@pytest.mark.req("NFR3.2.4")
async def test_calls_that_have_just_been_cancelled_are_not_abandoned_however_many_there_are() -> None:
    loop = asyncio.get_running_loop()
    dispatcher = Dispatcher({}, Settings())
    looks = 0

    def abandoned_threads() -> int:
        nonlocal looks
        looks += 1
        # Other calls at each look: those of the last one have ended. From the fifth look on the same ones stay.
        cancelled = loop.time() if looks < 5 else 0.0
        dispatcher.abandoned = {cast("Call", object()): cancelled for _ in range(9)}
        return 0

    monitor = Monitor(dispatcher, RecyclePolicy(abandoned=5), abandoned_threads, period_ms=20, grace_ms=0)
    monitor.start()
    async with asyncio.timeout(30):
        assert await dispatcher.ended == EXIT_RECYCLE
    monitor.stop()
    assert looks >= 5
