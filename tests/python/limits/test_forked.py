"""Workers of a fork server have limits of their own."""

import os
import signal

import pytest
from links import PROGRAM, fork_server, forked_client

from python_bridge.errors import BridgeError

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


@pytest.mark.req("NFR3.2.1", "FR2.1.3")
async def test_a_child_above_its_hard_limit_is_killed_by_its_parent_though_it_heeds_nothing() -> None:
    async with fork_server("--monitor-ms=20") as (server, _):
        spare = await server.request("fork")
        child = await server.request("fork", {"settings": {"memory_hard_bytes": 1 << 20}})
        ended = await server.notification("child/exit")
        assert ended == {
            "pid": child["pid"],
            "worker_id": child["worker_id"],
            "status": None,
            "signal": signal.SIGKILL,
            "reason": "memory",
        }
        assert (await server.request("children"))["children"] == [
            {name: spare[name] for name in ("pid", "worker_id", "socket")}
        ]


@pytest.mark.req("NFR3.2.1", "FR2.1.3")
async def test_memory_that_a_call_takes_beyond_the_hard_limit_costs_the_worker_and_the_call() -> None:
    async with fork_server("--monitor-ms=20") as (server, process):
        usual = await server.request("fork")
        async with forked_client(usual) as client:
            await client.ready()
            limit = (await client.request("worker/status"))["rss_bytes"] + (96 << 20)
        child = await server.request("fork", {"settings": {"memory_hard_bytes": limit, "max_items": 10_000_000}})
        async with forked_client(child) as client:
            await client.ready()
            assert (await client.request("echo", {"value": 1})) == {"value": 1}
            with pytest.raises(BridgeError) as lost:
                await client.request(
                    "call", {"program": PROGRAM, "inputs": {"script": [{"fill_mb": 512}, {"stall": 1}]}}
                )
            assert lost.value.kind == "worker_lost"
        assert (await server.notification("child/exit"))["reason"] == "memory"
        server.close()
        await process.exited
        assert b"memory_hard_bytes" in process.stderr


async def test_a_child_that_the_system_refuses_what_it_asks_for_ends_with_status_2() -> None:
    async with fork_server() as (server, process):
        child = await server.request("fork", {"settings": {"cpus": "4095"}})
        assert (await server.notification("child/exit"))["status"] == 2
        assert child["pid"] != process.pid
        server.close()
        await process.exited
        assert b"cpus" in process.stderr
