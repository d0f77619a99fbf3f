"""What only a worker process shows: its streams, signals, end and exit status."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from links import PROGRAM, python_process, stdio_link, worker_arguments

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.3", "NFR2.1.1")]


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


async def in_flight(client: BridgeClient, count: int) -> None:
    while (await client.request("worker/status"))["in_flight"] != count:
        pass


async def kind_of(awaitable: Any) -> str:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value.kind


async def test_who_started_a_worker_on_its_streams_needs_no_token() -> None:
    client = BridgeClient()
    environ = {**os.environ, "DSPEX_TOKEN": "a token for sockets"}
    async with python_process(client, *worker_arguments(), env=environ):
        await client.ready()
        assert (await client.request("echo", {"value": 1})) == {"value": 1}


async def test_stray_prints_go_to_stderr_and_tear_no_frame() -> None:
    async with stdio_link({}, {}) as link:
        client, process = link.client, link.process
        assert process is not None
        await client.ready()
        answer = await client.request("call", call({"print": "I am no frame"}, {"answer": 1}))
        assert answer["outputs"] == {"answer": 1}
        client.close()
        assert await link.ended == 0
        assert b"I am no frame" in process.stderr


async def test_the_end_of_input_stops_the_work_and_ends_the_worker() -> None:
    async with stdio_link({}, {}) as link:
        await link.client.ready()
        link.client.send("call", call({"stall": True}))
        await in_flight(link.client, 1)
        link.client.close()
        assert await link.ended == 0


async def test_the_end_of_input_before_initialize_ends_the_worker() -> None:
    async with stdio_link({}, {}) as link:
        assert await link.client.request("ping") == {}
        link.client.close()
        assert await link.ended == 0


async def test_garbage_ends_the_worker() -> None:
    async with stdio_link({}, {}) as link:
        await link.client.ready()
        link.client.write(b"Hello there, worker\n")
        assert (await link.client.refusals.get()).kind == "protocol_error"
        assert await link.ended == 0


async def test_a_killed_worker_loses_its_calls() -> None:
    async with stdio_link({}, {}) as link:
        await link.client.ready()
        number = link.client.send("call", call({"stall": True}))
        await in_flight(link.client, 1)
        assert link.process is not None
        link.process.signal(signal.SIGKILL)
        assert await kind_of(link.client.response(number)) == "worker_lost"
        assert await link.ended == -signal.SIGKILL


async def test_a_worker_that_exits_in_mid_call_loses_it() -> None:
    async with stdio_link({}, {}) as link:
        await link.client.ready()
        assert await kind_of(link.client.request("call", call({"exit": 3}))) == "worker_lost"
        assert await link.ended == 3


async def test_sigterm_drains() -> None:
    async with stdio_link({}, {"drain_ms": 60_000}) as link:
        client, process = link.client, link.process
        assert process is not None
        await client.ready()
        step = {"emit": {"type": "status", "message": "x"}}
        stream = client.stream("call", call(step, {"answer": "finished"}), credit=0, grant=0)
        await in_flight(client, 1)
        process.signal(signal.SIGTERM)
        while (await client.request("worker/status"))["state"] != "draining":
            pass
        assert await kind_of(client.request("call", call())) == "overloaded"
        client.grant(stream.id, 1)
        assert (await stream.result())["outputs"] == {"answer": "finished"}
        assert await link.ended == 0


async def test_a_second_sigterm_stops() -> None:
    async with stdio_link({}, {"drain_ms": 60_000}) as link:
        client, process = link.client, link.process
        assert process is not None
        await client.ready()
        number = client.send("call", call({"stall": True}))
        await in_flight(client, 1)
        process.signal(signal.SIGTERM)
        while (await client.request("worker/status"))["state"] != "draining":
            pass
        process.signal(signal.SIGTERM)
        assert await kind_of(client.response(number)) == "cancelled"
        assert await link.ended == 143


async def test_a_call_that_ignores_its_cancel_does_not_keep_the_worker() -> None:
    async with stdio_link({}, {"drain_ms": 0}) as link:
        await link.client.ready()
        link.client.send("call", call({"stubborn": 1000}))
        await in_flight(link.client, 1)
        await link.client.request("shutdown", {"grace_ms": 0})
        assert await link.ended == 0


async def test_a_client_that_does_not_read_is_not_read_from_and_gets_everything_later() -> None:
    async with stdio_link({}, {}) as link:
        client = link.client
        await client.ready()
        assert link.process is not None
        assert link.process.transport is not None
        answers = link.process.transport.get_pipe_transport(1)
        assert isinstance(answers, asyncio.ReadTransport)
        answers.pause_reading()
        value = "x" * 200_000
        numbers = [client.send("echo", {"value": value}) for _ in range(100)]
        await asyncio.sleep(0)
        answers.resume_reading()
        for number in numbers:
            assert await client.response(number) == {"value": value}


PARENT = """
import os, subprocess, sys
near, far = os.pipe()
there, here = os.pipe()
child = subprocess.Popen([sys.executable, *{arguments!r}], stdin=near, stdout=here)
keeper = subprocess.Popen(["sleep", "60"], pass_fds=[far, there], stdout=2)
os.write(1, b"%d %d\\n" % (child.pid, keeper.pid))
child.wait()
"""


async def test_a_worker_ends_when_its_parent_is_killed_though_its_input_stays_open() -> None:
    command = PARENT.format(arguments=worker_arguments())
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        worker, keeper = map(int, process.stdout.readline().split())
        await ends_with_its_parent(worker, keeper, process)


async def ends_with_its_parent(worker: int, keeper: int, process: subprocess.Popen[bytes]) -> None:
    try:
        await until(lambda: has_claimed(worker))
        process.kill()
        process.wait()
        await until(lambda: not alive(worker))
    finally:
        os.kill(keeper, signal.SIGKILL)


async def until(true: Callable[[], bool]) -> None:
    """Wait for what only the system knows."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


def has_claimed(pid: int) -> bool:
    """Whether a worker has moved its standard input away, and so watches its parent."""
    try:
        return os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    except OSError:  # it moves it just now
        return False


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b") ", 1)[1][:1] != b"Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nope"], b"--nope"),
        (["--lm"], b"--lm needs a value"),
        (["--max-in-flight", "many"], b"max_in_flight (command line) must be a whole number"),
        (["--adapter=yaml"], b"chat, json, xml"),
        (["--config", "/nowhere.toml"], b"/nowhere.toml"),
        (["--listen", "ftp"], b"unix:/path"),
    ],
)
async def test_wrong_flags_are_named_and_end_with_2(arguments: list[str], text: bytes) -> None:
    client = BridgeClient()
    async with python_process(client, "-m", "python_bridge", "worker", *arguments) as process:
        assert await process.exited == 2
        assert text in process.stderr
        assert b"Traceback" not in process.stderr


async def test_a_worker_without_an_engine_ends_with_78() -> None:
    async with stdio_link({}, {"default_lm": "unavailable"}) as link:
        await link.client.initialize()
        await link.client.notification("worker/failed")
        assert await link.ended == 78
