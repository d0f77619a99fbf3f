"""The fork server: makes workers, tells of their end, survives them, and leaves none behind."""

import asyncio
import os
import random
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import numpy
import pytest
from links import PROGRAM, fork_server, forked_client, python_process

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.worker.children import Nursery, child_settings

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.1.2", "NFR2.1.2", "NFR2.1.4", "FR2.1.4")]


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


async def error_of(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value


async def exits(server: BridgeClient, count: int) -> list[dict[str, Any]]:
    """Wait for so many `child/exit` notifications."""
    while True:
        found = [item.params for item in server.notifications if item.method == "child/exit"]
        if len(found) >= count:
            return found
        await server.request("ping")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b") ", 1)[1][:1] != b"Z"
    except OSError:
        return False


def exists(path: str) -> bool:
    return os.path.exists(path)


async def until_gone(pids: list[int]) -> None:
    async with asyncio.timeout(30):
        while any(map(alive, pids)):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


async def test_it_knows_its_own_operations_only() -> None:
    async with fork_server() as (server, _):
        hello = server.connection.hello or {}
        assert hello["operations"] == ["children", "fork", "initialize", "kill", "ping", "shutdown"]
        for method in ("echo", "call", "worker/status"):
            assert (await error_of(server.request(method))).kind == "not_found"
        assert (await error_of(server.request("fork", {"x": 1}))).kind == "invalid_request"
        assert (await error_of(server.request("initialize", {"protocol_versions": [1]}))).kind == "invalid_request"


async def test_workers_have_their_settings_and_sockets_of_their_own() -> None:
    async with fork_server() as (server, _):
        one = await server.request("fork", {"settings": {"max_in_flight": 3}})
        two = await server.request("fork")
        assert one["pid"] != two["pid"]
        assert one["token"] != two["token"]
        folder = os.path.dirname(one["socket"])
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(one["socket"]).st_mode) == 0o600
        async with forked_client(one) as first, forked_client(two) as second:
            hello, other = await first.ready(), await second.ready()
            assert (hello["pid"], hello["worker_id"]) == (one["pid"], one["worker_id"])
            assert hello["limits"]["max_in_flight"] == 3
            assert other["limits"]["max_in_flight"] == Settings().max_in_flight
            answer = await first.request("call", call({"answer": 1}))
            assert answer["meta"]["worker"] == one["worker_id"]
        children = (await server.request("children"))["children"]
        assert children == [{name: child[name] for name in ("pid", "worker_id", "socket")} for child in (one, two)]


async def test_another_childs_token_opens_nothing() -> None:
    async with fork_server() as (server, _):
        one, two = await server.request("fork"), await server.request("fork")
        async with forked_client({**one, "token": two["token"]}) as client:
            assert (await error_of(client.initialize())).kind == "unauthorized"


async def test_a_child_that_crashes_is_told_of_and_the_others_go_on() -> None:
    async with fork_server() as (server, _):
        one, two = await server.request("fork"), await server.request("fork")
        async with forked_client(one) as first, forked_client(two) as second:
            await asyncio.gather(first.ready(), second.ready())
            assert (await error_of(first.request("call", call({"exit": 7})))).kind == "worker_lost"
            (ended,) = await exits(server, 1)
            wanted = {"pid": one["pid"], "worker_id": one["worker_id"], "status": 7, "signal": None, "reason": None}
            assert ended == wanted
            assert not exists(one["socket"])
            assert await second.request("echo", {"value": 1}) == {"value": 1}
            third = await server.request("fork")
            async with forked_client(third) as client:
                await client.ready()


async def test_children_are_killed_by_signal_and_only_children() -> None:
    async with fork_server() as (server, _):
        one, two = await server.request("fork"), await server.request("fork")
        async with forked_client(one) as client:
            await client.ready()
            assert await server.request("kill", {"pid": one["pid"]}) == {}
            await client.closed
        assert await server.request("kill", {"pid": two["pid"], "signal": "KILL"}) == {}
        ended = {item["pid"]: (item["status"], item["signal"]) for item in await exits(server, 2)}
        assert ended == {one["pid"]: (0, None), two["pid"]: (None, signal.SIGKILL)}
        assert (await error_of(server.request("kill", {"pid": os.getpid()}))).kind == "not_found"
        assert (await error_of(server.request("kill", {"pid": one["pid"]}))).kind == "not_found"
        error = await error_of(server.request("kill", {"pid": one["pid"], "signal": "STOP"}))
        assert error.kind == "invalid_request"


async def test_many_forks_and_kills_leave_nothing_behind() -> None:
    async with fork_server() as (server, process):
        for _ in range(3):
            made = [await server.request("fork") for _ in range(5)]
            for child in made:
                await server.request("kill", {"pid": child["pid"], "signal": "KILL"})
        assert len(await exits(server, 15)) == 15
        assert (await server.request("children")) == {"children": []}
        folder = os.path.dirname(made[0]["socket"])
        assert os.listdir(folder) == []
        server.close()
        assert await process.exited == 0
        assert not exists(folder)


async def test_the_folder_of_one_that_was_killed_goes_with_its_last_child() -> None:
    async with fork_server() as (server, process):
        children = [await server.request("fork") for _ in range(2)]
        for child in children:
            async with forked_client(child) as client:
                await client.ready()
        process.signal(signal.SIGKILL)
        await process.exited
        await until_gone([child["pid"] for child in children])
        assert not exists(os.path.dirname(children[0]["socket"]))


async def test_the_next_one_removes_what_was_killed_and_nothing_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "dspex-fork-file").write_text("not a folder")
    (tmp_path / "dspex-fork-link").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    async with fork_server() as (living, _):
        neighbour = await living.request("fork")
        async with fork_server() as (server, process):
            child = await server.request("fork")
            process.signal(signal.SIGSTOP)  # neither of the two can tidy up
            os.kill(child["pid"], signal.SIGKILL)
            process.signal(signal.SIGKILL)
            await process.exited
        assert exists(child["socket"])
        async with fork_server() as (server, _):
            await server.request("fork")
            assert not exists(os.path.dirname(child["socket"]))
            async with forked_client(neighbour) as client:
                await client.ready()
    assert sorted(os.listdir(tmp_path)) == ["dspex-fork-file", "dspex-fork-link", "other"]


@pytest.mark.parametrize("how", ["close", "shutdown", "SIGTERM", "SIGKILL", "garbage"])
async def test_no_child_outlives_it(how: str) -> None:
    async with fork_server() as (server, process):
        quiet, busy = await server.request("fork"), await server.request("fork")
        async with forked_client(busy) as client:
            await client.ready()
            client.send("call", call({"stubborn": 1000}))
            while (await client.request("worker/status"))["in_flight"] != 1:
                pass
            if how == "close":
                server.close()
            elif how == "garbage":
                server.write(b"no frame at all")
            elif how == "shutdown":
                await server.request("shutdown")
            else:
                process.signal(getattr(signal, how))
            assert await process.exited == (-signal.SIGKILL if how == "SIGKILL" else 0)
            await until_gone([quiet["pid"], busy["pid"]])


async def test_stray_prints_of_children_tear_no_frame_of_the_server() -> None:
    async with fork_server() as (server, process):
        child = await server.request("fork")
        async with forked_client(child) as client:
            await client.ready()
            await client.request("call", call({"print": "I am no frame"}))
        assert await server.request("ping") == {}
        server.close()
        await process.exited
        assert b"I am no frame" in process.stderr


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"colour": 1}, "colour (settings of fork) is no setting"),
        ({"max_queue": "x"}, "whole number"),
        ({"token": "mine"}, "may not have token"),
        ({"listen": "stdio", "engine": "dspy"}, "may not have engine, listen"),
        ({"env": {"A": 1}}, "map from text to text"),
        ({"env": []}, "map from text to text"),
        ({"env": {"A=B": "x"}}, "'A=B' is no variable"),
        ({"env": {"": "x"}}, "'' is no variable"),
        ({"env": {"A": "x\0y"}}, "'A' is no variable"),
    ],
)
def test_settings_that_a_child_cannot_have_are_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(BridgeError) as caught:
        child_settings(Settings(), settings)
    assert caught.value.kind == "invalid_request"
    assert text in caught.value.message


async def test_an_engine_that_cannot_be_loaded_is_told_and_ends_it_with_78() -> None:
    client = BridgeClient()
    flags = ["--engine", "scripted", "--default-lm", "unavailable"]
    async with python_process(client, "-m", "python_bridge", "fork-server", *flags) as process:
        await client.initialize()
        failed = await client.notification("worker/failed")
        assert failed["error"]["data"]["kind"] == "unavailable"
        assert await process.exited == 78


async def test_without_a_common_version_it_refuses_and_ends() -> None:
    client = BridgeClient()
    async with python_process(client, "-m", "python_bridge", "fork-server", "--engine", "scripted") as process:
        assert (await error_of(client.request("initialize", {"protocol_versions": [9]}))).kind == "unavailable"
        assert await process.exited == 0


def test_a_folder_whose_path_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    with pytest.raises(BridgeError) as caught:
        Nursery(folder, lambda settings, listener: None).fork(Settings(), {}, [])
    assert caught.value.kind == "unavailable"
    assert "AF_UNIX path too long" in caught.value.message


def test_children_share_neither_random_state_nor_environment(tmp_path: Path) -> None:
    def live(settings: Settings, listener: socket.socket) -> None:
        drawn = (random.random(), numpy.random.random(), os.environ["CUDA_VISIBLE_DEVICES"])
        (tmp_path / str(settings.worker_id)).write_text(" ".join(map(str, drawn)))
        os._exit(0)

    nursery = Nursery(tmp_path, live)
    random.seed(1)
    numpy.random.seed(1)
    told = []
    for number in range(3):
        child, _ = nursery.fork(Settings(), {"CUDA_VISIBLE_DEVICES": str(number)}, [])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        (ended,) = nursery.reap()
        assert (ended.child, ended.status, ended.signal) == (child, 0, None)
        told.append((tmp_path / child.worker_id).read_text().split())
    numbers, arrays, devices = zip(*told, strict=True)
    assert devices == ("0", "1", "2")
    assert (len(set(numbers)), len(set(arrays))) == (3, 3)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_child_that_fails_at_birth_ends_with_70_and_never_becomes_a_second_server(tmp_path: Path) -> None:
    def fail(settings: Settings, listener: socket.socket) -> None:
        raise RuntimeError("as planned")

    nursery = Nursery(tmp_path, fail)
    child, _ = nursery.fork(Settings(), {}, [])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [ended.status for ended in nursery.reap()] == [70]
    assert nursery.children == {}
