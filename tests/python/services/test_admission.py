"""Places for calls: bounded, in order, and none is ever lost."""

import asyncio

import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.admission import Admission

pytestmark = [pytest.mark.anyio, pytest.mark.req("NFR1.2.2", "FR2.2.3")]


async def test_places_are_given_out_in_order_of_arrival() -> None:
    admission, order = Admission(1, 10), []

    async def work(name: int) -> None:
        await admission.enter()
        order.append(name)
        await asyncio.sleep(0)
        admission.leave(0.0)

    await asyncio.gather(*(work(name) for name in range(6)))
    assert order == list(range(6))
    assert (admission.running, admission.queued) == (0, 0)


async def test_cancelled_waiters_take_no_place() -> None:
    admission = Admission(1, 10)
    await admission.enter()
    waiters = [asyncio.create_task(admission.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    admission.leave(0.0)  # in the same turn of the loop, before the cancelled one has noticed
    await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    assert (admission.running, admission.queued) == (1, 1)
    waiters[2].cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    admission.leave(0.0)
    assert (admission.running, admission.queued) == (0, 0)


async def test_a_waiter_cancelled_just_after_it_got_its_place_hands_it_on() -> None:
    admission = Admission(1, 10)
    await admission.enter()
    first, second = asyncio.create_task(admission.enter()), asyncio.create_task(admission.enter())
    await asyncio.sleep(0)
    admission.leave(0.0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await second
    admission.leave(0.0)
    assert (admission.running, admission.queued) == (0, 0)


async def test_the_time_to_wait_follows_how_long_calls_take() -> None:
    quick, slow = Admission(1, 0), Admission(1, 0)
    for admission, seconds in ((quick, 0.0001), (slow, 3.0)):
        for _ in range(50):
            await admission.enter()
            admission.leave(seconds)
    waits = []
    for admission in (quick, slow):
        with pytest.raises(BridgeError) as caught:
            admission.check(1)
        assert caught.value.kind == "overloaded"
        waits.append(caught.value.retry_after)
    assert 0 < waits[0] < waits[1] <= 5
