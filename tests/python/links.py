"""Connections from a test to a worker with the scripted engine, by every transport."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc

from python_bridge._proto.bridge_pb2_grpc import BridgeStub
from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.operations import WorkerOperations
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.transports.grpc.frames import FrameTransport
from python_bridge.transports.memory import connect_memory
from python_bridge.worker.boot import boot

PATIENCE_S = 60
TOKEN = "a token for tests"
PROGRAM = {"kind": "scripted"}
ROOT = Path(__file__).parent.parent.parent


class Process(asyncio.SubprocessProtocol):
    """A child process whose standard streams are a client's connection."""

    def __init__(self, client: BridgeClient) -> None:
        self.client = client
        self.stderr = b""
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)
        stdin = self.transport.get_pipe_transport(0)
        assert stdin is not None
        self.client.connection_made(stdin)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self.stderr += data
        else:
            self.client.data_received(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.client.connection_lost(exc)

    def process_exited(self) -> None:
        assert self.transport is not None
        self.exited.set_result(cast("int", self.transport.get_returncode()))

    @property
    def pid(self) -> int:
        assert self.transport is not None
        return self.transport.get_pid()

    def signal(self, signum: int) -> None:
        assert self.transport is not None
        self.transport.send_signal(signum)


@asynccontextmanager
async def python_process(
    client: BridgeClient,
    *arguments: str,
    python: str = sys.executable,
    patience_s: float = PATIENCE_S,
    **options: Any,
) -> AsyncIterator[Process]:
    """Run `python *arguments` with `client` on its standard streams; it is dead after the block."""
    loop = asyncio.get_running_loop()
    command = [python, *arguments]
    transport, process = await loop.subprocess_exec(lambda: Process(client), *command, cwd=ROOT, **options)
    try:
        async with asyncio.timeout(patience_s):
            yield process
    finally:
        if not process.exited.done():
            transport.kill()
            await process.exited
        transport.close()


def worker_arguments(**settings: Any) -> list[str]:
    """Return the command line of a worker with the scripted engine."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in {"engine": "scripted", **settings}.items()]
    return ["-m", "python_bridge", "worker", *flags]


@dataclass
class Link:
    """A client and how its worker ends.

    Attributes:
        ended: gives the status of the worker.
        process: when it is one of its own.
    """

    client: BridgeClient
    ended: Any
    process: Process | None = None
    options: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def stdio_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A worker process on its standard streams."""
    peer = BridgeClient(**client)
    async with python_process(peer, *worker_arguments(**settings)) as process:
        yield Link(peer, process.exited, process)


@asynccontextmanager
async def memory_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A worker within this loop."""
    chosen = Settings(engine="scripted", **settings)
    operations = WorkerOperations(chosen)
    dispatcher = Dispatcher(operations.table(), chosen)
    peer = connect_memory(dispatcher, lambda: BridgeClient(**client))

    async def start() -> None:
        await dispatcher.greeted
        await boot(dispatcher, operations, ScriptedEngine(chosen))

    booting = asyncio.create_task(start())
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Link(peer, dispatcher.ended)
    finally:
        booting.cancel()
        peer.close()
        dispatcher.end(0)
        await asyncio.sleep(0)


@asynccontextmanager
async def listening(listen: str, settings: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Process, str]]:
    """A worker process on a socket; gives also the address that it tells."""
    listener = Listener()
    async with python_process(listener, *worker_arguments(listen=listen, **settings), **options) as process:
        yield process, await listener.address


class Listener(BridgeClient):
    """Stands where a client would, and reads where the worker listens."""

    def __init__(self) -> None:
        super().__init__()
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.address.set_result(data.decode().removeprefix("listening on ").strip())


@asynccontextmanager
async def unix_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A worker process on a Unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        async with listening(f"unix:{folder}/w.sock", settings) as (process, address):
            loop = asyncio.get_running_loop()
            path = address.removeprefix("unix:")
            transport, peer = await loop.create_unix_connection(lambda: BridgeClient(**client), path)
            try:
                yield Link(peer, process.exited, process)
            finally:
                transport.close()


class TokenClient(BridgeClient):
    """A client that knows the token of the worker."""

    token = TOKEN

    async def initialize(self, **options: Any) -> dict[str, Any]:
        return await super().initialize(**{"token": self.token, **options})


@asynccontextmanager
async def tcp_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A worker process on a TCP port of its choice."""
    environ = {**os.environ, "DSPEX_TOKEN": TOKEN}
    async with listening("tcp:127.0.0.1:0", settings, env=environ) as (process, address):
        host, _, port = address.removeprefix("tcp:").rpartition(":")
        loop = asyncio.get_running_loop()
        transport, peer = await loop.create_connection(lambda: TokenClient(**client), host, int(port))
        try:
            yield Link(peer, process.exited, process)
        finally:
            transport.close()


@asynccontextmanager
async def fork_server(*flags: str) -> AsyncIterator[tuple[BridgeClient, Process]]:
    """A fork server with the scripted engine, ready to fork."""
    client = BridgeClient()
    async with python_process(client, "-m", "python_bridge", "fork-server", "--engine", "scripted", *flags) as process:
        await client.ready()
        try:
            yield client, process
        finally:
            client.close()  # it ends by itself then, and takes its folder with it
            await process.exited


@asynccontextmanager
async def forked_client(child: dict[str, Any], **options: Any) -> AsyncIterator[BridgeClient]:
    """A client of a child of a fork server; it knows the token."""
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_unix_connection(lambda: TokenClient(**options), child["socket"])
    client.token = child["token"]
    try:
        yield client
    finally:
        transport.close()


@asynccontextmanager
async def fork_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A worker that a fork server made."""
    async with fork_server() as (server, _):
        child = await server.request("fork", {"settings": settings})

        async def ended() -> int:
            return (await server.notification("child/exit"))["status"]

        async with forked_client(child, **client) as peer:
            exit_status = asyncio.ensure_future(ended())
            try:
                yield Link(peer, exit_status)
            finally:
                exit_status.cancel()


@asynccontextmanager
async def grpc_worker(settings: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Process, str]]:
    """A worker process that serves gRPC on a port of its choice; gives also the target for a channel."""
    environ = {**os.environ, "DSPEX_TOKEN": TOKEN, **options}
    async with listening("grpc:127.0.0.1:0", settings, env=environ) as (process, address):
        yield process, address.removeprefix("grpc:")


@asynccontextmanager
async def grpc_link(client: dict[str, Any], settings: dict[str, Any]) -> AsyncIterator[Link]:
    """A client of `Connect`."""
    async with grpc_worker(settings) as (process, target), grpc.aio.insecure_channel(target, NO_LIMITS) as channel:
        call = BridgeStub(channel).Connect(metadata=(("authorization", f"Bearer {TOKEN}"),))
        peer = TokenClient(**client)
        transport = FrameTransport(peer)
        peer.connection_made(transport)
        pumps = asyncio.gather(transport.pump_in(call), transport.pump_out(call.write), return_exceptions=True)
        pumps.add_done_callback(lambda done: peer.connection_lost(None))
        try:
            yield Link(peer, process.exited, process)
        finally:
            transport.close()
            call.cancel()
            await asyncio.wait({pumps})


NO_LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
LINKS = {
    "memory": memory_link,
    "stdio": stdio_link,
    "fork": fork_link,
    "unix": unix_link,
    "tcp": tcp_link,
    "grpc": grpc_link,
}
