"""Limits, signals and stops, shown by worker processes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from links import PROGRAM, Link, python_process, stdio_link, worker_arguments

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient

pytestmark = pytest.mark.anyio
HERE = Path(__file__).parent


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


def lines_of(link: Link) -> list[dict[str, Any]]:
    """What the worker has logged."""
    assert link.process is not None
    return [json.loads(line) for line in link.process.stderr.splitlines() if line.startswith(b"{")]


async def in_flight(client: BridgeClient, count: int) -> None:
    while (await client.request("worker/status"))["in_flight"] != count:
        pass


async def missed_ping(client: BridgeClient) -> asyncio.Task[Any]:
    """Ping as a pool does, until there is no answer in time; return the ping that waits for it."""
    while True:
        ping = asyncio.create_task(client.request("ping"))
        await asyncio.wait({ping}, timeout=0.5)
        if not ping.done():
            return ping


@asynccontextmanager
async def worker(**settings: Any) -> AsyncIterator[Link]:
    """A ready worker that looks at itself often."""
    async with stdio_link({}, {"monitor_ms": 20, **settings}) as link:
        await link.client.ready()
        yield link


@pytest.mark.req("NFR3.2.4", "FR2.1.4")
async def test_a_worker_that_has_done_its_calls_finishes_what_it_has_and_ends_with_status_75() -> None:
    checked = asyncio.Event()

    async def wait(arguments: dict[str, Any]) -> bool:
        return await checked.wait()

    async with stdio_link({"tools": {"wait": wait}}, {"monitor_ms": 20, "recycle_calls": 3}) as link:
        client = link.client
        await client.ready()
        for _ in range(2):
            await client.request("call", call({"answer": 1}))
        last = client.send("call", call({"tool": "wait"}, {"answer": "late"}))
        draining = await client.notification("worker/draining")
        assert draining == {"reason": "calls", "grace_ms": 30_000}
        status = await client.request("worker/status")
        assert (status["state"], status["reason"], status["in_flight"]) == ("draining", "calls", 1)
        with pytest.raises(BridgeError) as refused:
            await client.request("call", call({"answer": 1}))
        assert refused.value.kind == "overloaded"
        checked.set()
        assert (await client.response(last))["outputs"]["answer"] == "late"
        assert await link.ended == 75
        (warning,) = [line for line in lines_of(link) if line["level"] == "warning"]
        assert warning["reason"] == "calls"
        assert "recycle_calls" in warning["event"]


@pytest.mark.req("NFR3.2.4")
async def test_a_worker_of_its_age_is_replaced() -> None:
    async with worker(recycle_age_ms=100) as link:
        assert (await link.client.notification("worker/draining"))["reason"] == "age"
        assert await link.ended == 75


@pytest.mark.req("NFR3.2.4")
async def test_calls_that_outlast_the_grace_are_cancelled() -> None:
    async with worker(recycle_calls=1, recycle_grace_ms=50) as link:
        with pytest.raises(BridgeError) as stopped:
            await link.client.request("call", call({"stall": True}))
        assert stopped.value.kind == "cancelled"
        assert await link.ended == 75


async def fill(client: BridgeClient) -> tuple[int, str | None]:
    """Put programs of a mebibyte each until one is refused; return how many are kept, and the kind of the error."""
    for kept in range(100):
        try:
            await client.request("program.put", {"program": {**PROGRAM, "text": f"{kept}" + "x" * (1 << 20)}})
        except BridgeError as error:
            return kept, error.kind
    return 100, None


@pytest.mark.req("NFR3.2.1", "FR2.1.3")
async def test_memory_that_grows_to_its_soft_limit_has_the_worker_replaced() -> None:
    async with stdio_link({}, {"monitor_ms": 20}) as link:
        await link.client.ready()
        usual = (await link.client.request("worker/status"))["rss_bytes"]
    limit = usual + (48 << 20)
    async with worker(memory_soft_bytes=limit, max_programs=1000) as link:
        kept, refusal = await fill(link.client)
        assert refusal in ("overloaded", "worker_lost")
        assert (await link.client.notification("worker/draining"))["reason"] == "memory"
        assert await link.ended == 75
        assert 20 <= kept < 100


@pytest.mark.req("NFR3.2.1")
async def test_memory_that_comes_back_when_garbage_is_collected_costs_no_worker() -> None:
    async with worker() as link:
        usual = (await link.client.request("worker/status"))["rss_bytes"]
    async with worker(memory_soft_bytes=usual + (96 << 20)) as link:
        await link.client.request("echo", {"value": "x" * (40 << 20)})
        status = await link.client.request("worker/status")
        assert status["state"] == "ready"


@pytest.mark.req("NFR3.2.1")
async def test_a_worker_without_a_fork_server_ends_itself_above_its_hard_limit() -> None:
    async with worker() as link:
        usual = (await link.client.request("worker/status"))["rss_bytes"]
    async with worker(memory_hard_bytes=usual + (96 << 20)) as link:
        with pytest.raises(BridgeError) as lost:
            await link.client.request("call", call({"fill_mb": 192}, {"stall": True}))
        assert lost.value.kind == "worker_lost"
        assert await link.ended == -signal.SIGKILL
        assert "memory_hard_bytes" in lines_of(link)[-1]["event"]


@pytest.mark.req("NFR3.2.4", "NFR2.1.1")
async def test_tasks_that_ignore_their_cancellation_are_bounded() -> None:
    async with worker(max_abandoned=3) as link:
        client = link.client
        for before in range(3):
            number = client.send("call", call({"stubborn": 100}))
            await in_flight(client, before + 1)  # the abandoned ones keep their places
            client.cancel(number)
            with pytest.raises(BridgeError):
                await client.response(number)
        assert (await client.notification("worker/draining"))["reason"] == "abandoned"


@pytest.mark.req("NFR3.2.4", "NFR2.1.1")
async def test_runaway_threads_are_counted_and_bounded(tmp_path: Path) -> None:
    path = "spinning:Spinning"
    arguments = worker_arguments(engine="dspy", max_abandoned=3, monitor_ms=20, allow_import=path)
    paths = os.pathsep.join([str(HERE), *sys.path])
    environ = {**os.environ, "PYTHONPATH": paths, "SPINNING_UNTIL": str(tmp_path / "never")}
    client = BridgeClient()
    async with python_process(client, *arguments, env=environ) as process:
        await client.ready()
        program = {"format": 1, "kind": "custom", "import": path, "signature": "question -> answer"}
        module = (await client.request("module.create", {"program": program}))["module"]
        asked = {"module": module, "inputs": {"question": "?"}, "options": {"lm": "offline/extractive"}}
        late = [client.send("module.call", asked, deadline_ms=500) for _ in range(3)]
        for number in late:
            with pytest.raises(BridgeError) as stopped:
                await client.response(number)
            assert stopped.value.kind == "timeout"
        assert (await client.notification("worker/draining"))["reason"] == "abandoned"
        assert await process.exited == 75  # threads that never end do not keep it


@pytest.mark.req("NFR2.1.1")
async def test_sigterm_drains_and_tells_why_and_a_second_one_stops() -> None:
    async with worker() as link:
        client = link.client
        assert link.process is not None
        number = client.send("call", call({"stall": True}))
        await in_flight(client, 1)
        link.process.signal(signal.SIGTERM)
        assert (await client.notification("worker/draining"))["reason"] == "signal"
        assert (await client.request("worker/status"))["state"] == "draining"
        link.process.signal(signal.SIGTERM)
        with pytest.raises(BridgeError):
            await client.response(number)
        assert await link.ended == 143


@pytest.mark.req("NFR2.1.1", "FR2.1.4")
async def test_a_stopped_worker_goes_on_where_it_was_and_tells_how_late_it_is() -> None:
    async with worker() as link:
        client = link.client
        assert link.process is not None
        link.process.signal(signal.SIGSTOP)
        ping = await missed_ping(client)
        link.process.signal(signal.SIGCONT)
        status = await client.request("worker/status")
        while status["max_loop_lag_ms"] < 200:
            status = await client.request("worker/status")
        assert status["state"] == "ready"
        assert await ping == {}
        assert (await client.request("call", call({"answer": 1})))["outputs"] == {"answer": 1}


@pytest.mark.req("NFR2.1.1", "FR2.1.4")
async def test_a_worker_that_holds_the_interpreter_misses_its_pings_and_is_killed_by_its_parent() -> None:
    async with worker() as link:
        assert link.process is not None
        number = link.client.send("call", call({"block_ms": 600_000}))
        ping = await missed_ping(link.client)
        link.process.signal(signal.SIGKILL)
        for answer in (ping, link.client.response(number)):
            with pytest.raises(BridgeError) as lost:
                await answer
            assert lost.value.kind == "worker_lost"
        assert await link.ended == -signal.SIGKILL


@pytest.mark.req("NFR3.2.2", "NFR3.2.3")
async def test_a_worker_runs_with_its_niceness_on_its_processors_and_declares_what_it_has() -> None:
    cpu = min(os.sched_getaffinity(0))
    async with stdio_link({}, {"nice": 7, "cpus": cpu, "gpu": "1", "capability": "large"}) as link:
        hello = await link.client.initialize()
        ready = await link.client.notification("ready")
        for features in (hello["features"], ready["features"]):
            assert {"gpu", "gpu:1", "capability:large"} <= set(features)
        assert os.getpriority(os.PRIO_PROCESS, hello["pid"]) == max(7, os.getpriority(os.PRIO_PROCESS, 0))
        assert os.sched_getaffinity(hello["pid"]) == {cpu}


async def test_processors_that_are_not_there_end_the_worker_with_a_message() -> None:
    client = BridgeClient()
    async with python_process(client, *worker_arguments(cpus="4095")) as process:
        assert await process.exited == 2
        assert b"cpus" in process.stderr


@pytest.mark.req("NFR4.2.1", "NFR2.2.4")
async def test_the_log_of_a_worker_is_json_with_ids_and_shows_no_key() -> None:
    key = "an-ordinary-looking-key"
    client = BridgeClient()
    environ = {**os.environ, "OPENAI_API_KEY": key}
    async with python_process(client, *worker_arguments(), env=environ) as process:
        await client.ready()
        with pytest.raises(BridgeError, match="the worker's log has the details"):
            await client.request("call", call({"raise": "defect", "message": f"failed with {key}"}))
        client.close()
        assert await process.exited == 0
        (line,) = [json.loads(line) for line in process.stderr.splitlines()]
        assert line["level"] == "error"
        assert line["request_id"].startswith(line["worker_id"])
        assert "[redacted]" in line["exception"]
        assert key.encode() not in process.stderr
