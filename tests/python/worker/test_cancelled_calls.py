"""Ten thousand calls that are cancelled: a worker is afterwards as it was before."""

import asyncio
import gc
import os

import pytest

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing import Answer, Gate, ScriptedLM
from python_bridge.testing.client import BridgeClient
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio

AT_ONCE, ROUNDS = 500, 20
GROWTH_BYTES = 32 << 20
CALL = {"program": {"format": 1, "kind": "predict", "signature": "question -> answer"}, "inputs": {"question": "?"}}


def held() -> dict[str, int]:
    """What grows when something leaks: tasks, objects, open files."""
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "objects": len(gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")),
    }


async def kind(client: BridgeClient, number: int) -> str:
    try:
        await client.response(number)
    except BridgeError as error:
        return error.kind
    finally:
        client.forget(number)
    return "answered"


async def cancel_many(client: BridgeClient, scripted: ScriptedLM) -> None:
    """Cancel calls of which some wait for the LM and the others, more than the worker takes at once, in its queue."""
    numbers = [client.send("call", CALL) for _ in range(AT_ONCE)]
    async with asyncio.timeout(60):
        while not scripted.asked:
            await client.request("ping")
    for number in numbers:
        client.cancel(number)
    kinds = await asyncio.gather(*(kind(client, number) for number in numbers))
    assert set(kinds) == {"cancelled"}
    scripted.asked.clear()


@pytest.mark.req("OWN-1")
async def test_ten_thousand_cancelled_calls_leave_no_task_no_object_and_no_file() -> None:
    scripted = ScriptedLM(default=Answer(fields={"answer": "late"}, gate=Gate()))
    settings = Settings(max_in_flight=300, max_queue=AT_ONCE)
    async with memory_worker(settings, lms={"default": scripted.lm}) as client:
        for _ in range(2):
            await cancel_many(client, scripted)
        before, empty = held(), await client.request("worker/status")
        for _ in range(ROUNDS):
            await cancel_many(client, scripted)
        after, status = held(), await client.request("worker/status")
    assert (after["tasks"], after["files"]) == (before["tasks"], before["files"])
    assert after["objects"] - before["objects"] < AT_ONCE * ROUNDS / 10, (before, after)
    assert status["rss_bytes"] - empty["rss_bytes"] < GROWTH_BYTES
    same = ("in_flight", "queued", "threads", "abandoned_threads", "programs", "connections")
    assert {name: status[name] for name in same} == {name: empty[name] for name in same}
