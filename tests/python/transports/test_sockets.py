"""What only sockets show: several clients, tokens, addresses, files left behind."""

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from links import PROGRAM, TOKEN, listening, tcp_link, unix_link

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings, SettingsError
from python_bridge.testing.client import BridgeClient
from python_bridge.transports.reception import GREETING_BYTES
from python_bridge.transports.sockets import address_of, bind, bind_unix
from python_bridge.wire.frames import encode_frame

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.3", "OWN-9")]


async def connect(address: str, **options: Any) -> BridgeClient:
    """Return a client of a worker on a Unix socket."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_unix_connection(lambda: BridgeClient(**options), address.removeprefix("unix:"))
    return client


async def test_clients_come_and_go_and_the_worker_stays(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/w.sock", {}) as (process, address):
        one, two = await connect(address), await connect(address)
        await asyncio.gather(one.ready(), two.ready())
        stalled = one.send("call", {"program": PROGRAM, "inputs": {"script": [{"stall": True}]}})
        while (await two.request("worker/status"))["in_flight"] != 1:
            pass
        assert (await two.request("worker/status"))["connections"] == 2
        one.close()
        while (await two.request("worker/status"))["connections"] != 1:
            pass
        assert (await two.request("worker/status"))["in_flight"] == 0
        with pytest.raises(BridgeError, match="ended"):
            await one.response(stalled)
        await two.request("shutdown")
        assert await process.exited == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.req("FR2.2.4")
async def test_a_client_that_goes_in_the_middle_of_its_stream_leaves_no_work_behind(tmp_path: Path) -> None:
    events = [{"emit": {"type": "token", "field": "a", "text": str(n), "last": False}} for n in range(1000)]
    async with listening(f"unix:{tmp_path}/w.sock", {}) as (_, address):
        watcher = await connect(address)
        await watcher.ready()
        for credit in (0, 1, 1000):  # it waits for credit, it has had an event, it is in the middle of many
            client = await connect(address)
            await client.ready()
            stream = client.stream("call", {"program": PROGRAM, "inputs": {"script": events}}, credit=credit, grant=0)
            if credit:
                await anext(aiter(stream))
            assert client.transport is not None
            client.transport.abort()
            while (await watcher.request("worker/status"))["connections"] != 1:
                pass
            assert (await watcher.request("worker/status"))["in_flight"] == 0
        assert await watcher.request("echo", {"value": 1}) == {"value": 1}
        watcher.close()


async def test_more_clients_than_allowed_are_turned_away(tmp_path: Path) -> None:
    environ = {**os.environ, "DSPEX_MAX_CONNECTIONS": "1"}
    async with listening(f"unix:{tmp_path}/w.sock", {}, env=environ) as (_, address):
        one = await connect(address)
        await one.ready()
        two = await connect(address)
        assert (await two.refusals.get()).kind == "overloaded"
        await two.closed
        assert await one.request("ping") == {}
        one.close()


async def test_who_connects_and_keeps_silent_is_told_and_turned_away(tmp_path: Path) -> None:
    environ = {**os.environ, "DSPEX_HANDSHAKE_MS": "1000"}
    async with listening(f"unix:{tmp_path}/w.sock", {}, env=environ) as (_, address):
        one = await connect(address)
        await one.ready()
        silent = await connect(address)
        assert await silent.request("ping") == {}
        error = await silent.refusals.get()
        assert (error.kind, "handshake_ms" in error.message) == ("timeout", True)
        await silent.closed
        assert await one.request("ping") == {}
        one.close()


async def test_the_time_of_the_handshake_is_not_begun_anew_by_what_is_refused(tmp_path: Path) -> None:
    environ = {**os.environ, "DSPEX_HANDSHAKE_MS": "1000"}
    async with listening(f"unix:{tmp_path}/w.sock", {}, env=environ) as (_, address):
        client = await connect(address)
        with pytest.raises(BridgeError, match="protocol_versions"):
            await client.request("initialize", {"protocol_versions": "1"})
        assert (await client.refusals.get()).kind == "timeout"
        await client.closed


async def test_a_client_that_reads_nothing_is_cut_off_all_the_same(tmp_path: Path) -> None:
    environ = {**os.environ, "DSPEX_HANDSHAKE_MS": "100"}
    async with listening(f"unix:{tmp_path}/w.sock", {}, env=environ) as (_, address):
        mute = socket.socket(socket.AF_UNIX)
        mute.settimeout(30)
        mute.connect(address.removeprefix("unix:"))
        pings = encode_frame(b'{"jsonrpc":"2.0","id":1,"method":"ping"}') * 1000
        with mute, pytest.raises((ConnectionResetError, BrokenPipeError)):
            _send_without_end(mute, pings)  # until the worker reads no more, and then until it is gone


def _send_without_end(mute: socket.socket, data: bytes) -> None:
    while True:
        mute.sendall(data)


async def test_strangers_are_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    environ = {**os.environ, "DSPEX_MAX_HANDSHAKES": "2"}
    async with listening(f"unix:{tmp_path}/w.sock", {}, env=environ) as (_, address):
        friends = [await connect(address) for _ in range(2)]
        for friend in friends:
            await friend.ready()
        strangers = [await connect(address) for _ in range(3)]
        error = await strangers[0].refusals.get()
        assert (error.kind, "max_handshakes" in error.message) == ("overloaded", True)
        await strangers[0].closed
        for client in (*strangers[1:], *friends):
            assert await client.request("ping") == {}
        await strangers[2].ready()
        assert (await friends[0].request("worker/status"))["connections"] == 4
        for client in (*strangers[1:], *friends):
            client.close()


async def test_a_stranger_cannot_have_a_large_frame_stored(tmp_path: Path) -> None:
    async with listening(f"unix:{tmp_path}/w.sock", {}) as (_, address):
        client = await connect(address)
        assert client.transport is not None
        client.transport.write((GREETING_BYTES + 1).to_bytes(4, "big") + b"x" * (GREETING_BYTES + 1))
        assert (await client.refusals.get()).kind == "limit_exceeded"
        await client.ready()
        text = "x" * (GREETING_BYTES + 1)
        assert await client.request("echo", {"value": text}) == {"value": text}
        client.close()


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
async def test_without_the_right_token_a_connection_is_refused_and_ended(token: str | None) -> None:
    async with tcp_link({}, {}) as link:
        with pytest.raises(BridgeError) as caught:
            await link.client.initialize(token=token)
        assert caught.value.kind == "unauthorized"
        assert TOKEN not in caught.value.message
        await link.client.closed


async def test_the_socket_is_for_its_owner_alone() -> None:
    async with unix_link({}, {}) as link:
        assert link.client.transport is not None
        path = link.client.transport.get_extra_info("peername")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        await link.client.ready()


def test_a_socket_that_a_dead_worker_left_behind_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "w.sock")
    bind_unix(path).close()
    assert os.path.exists(path)
    with bind(Settings(listen=f"unix:{path}")) as listener:
        assert address_of(listener) == f"unix:{path}"
        with pytest.raises(SettingsError, match="in use"):
            bind(Settings(listen=f"unix:{path}"))


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    for place, text in ((path, "a file that is no socket"), (link, "a link to nothing"), (tmp_path, "a directory")):
        with pytest.raises(SettingsError, match=text):
            bind(Settings(listen=f"unix:{place}"))
    assert path.read_text() == "data"
    assert link.is_symlink()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.168.0.1:80", "example.org:80", "[::]:0", "10.0.0.1:0"])
def test_addresses_that_others_can_reach_are_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="loopback"):
        bind(Settings(listen=f"tcp:{address}", token="t"))


@pytest.mark.parametrize(
    ("listen", "token", "text"),
    [
        ("tcp:127.0.0.1:0", None, "DSPEX_TOKEN"),
        ("tcp:127.0.0.1:x", "t", "'x'"),
        ("tcp:127.0.0.1:99999", "t", "99999"),
        ("unix:/nowhere/w.sock", None, "No such file"),
        (f"unix:/{'long' * 40}", None, "path too long"),
    ],
)
def test_addresses_that_cannot_be_used_are_told_with_the_reason(listen: str, token: str | None, text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        bind(Settings(listen=listen, token=token))


def test_localhost_is_loopback_and_any_port_is_told() -> None:
    with bind(Settings(listen="tcp:localhost:0", token="t")) as listener:
        assert address_of(listener).startswith("tcp:127.0.0.1:")
        assert listener.family == socket.AF_INET
        assert not address_of(listener).endswith(":0")
