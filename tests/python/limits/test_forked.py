"""Workers of a fork server have limits of their own."""

import os

import pytest
from links import PROGRAM, fork_server, forked_client

pytestmark = pytest.mark.anyio


@pytest.mark.req("FR2.1.3", "NFR3.2.2", "NFR3.2.3")
async def test_niceness_processors_and_devices_are_given_to_one_child_alone() -> None:
    cpus = os.sched_getaffinity(0)
    settings = {"nice": 9, "cpus": str(min(cpus)), "gpu": "3", "recycle_calls": 1, "monitor_ms": 20}
    async with fork_server() as (server, process):
        one, two = await server.request("fork", {"settings": settings}), await server.request("fork")
        async with forked_client(one) as first, forked_client(two) as second:
            hello, other = await first.ready(), await second.ready()
            assert "gpu:3" in hello["features"]
            assert "gpu:3" not in other["features"]
            assert os.getpriority(os.PRIO_PROCESS, one["pid"]) == 9
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0)
            assert os.sched_getaffinity(one["pid"]) == {min(cpus)}
            assert os.sched_getaffinity(two["pid"]) == cpus
            await first.request("call", {"program": PROGRAM, "inputs": {"script": [{"answer": 1}]}})
            assert (await server.notification("child/exit")).items() >= {"pid": one["pid"], "status": 75}.items()
            assert (await second.request("worker/status"))["state"] == "ready"


async def test_a_child_that_the_system_refuses_what_it_asks_for_ends_with_status_2() -> None:
    async with fork_server() as (server, process):
        child = await server.request("fork", {"settings": {"cpus": "4095"}})
        assert (await server.notification("child/exit"))["status"] == 2
        assert child["pid"] != process.pid
        server.close()
        await process.exited
        assert b"cpus" in process.stderr
