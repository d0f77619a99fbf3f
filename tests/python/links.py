"""Connections from a test to a worker with the scripted engine, by every transport."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.operations import WorkerOperations
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.transports.memory import connect_memory
from python_bridge.worker.boot import boot

PATIENCE_S = 60
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
async def python_process(client: BridgeClient, *arguments: str, **options: Any) -> AsyncIterator[Process]:
    """Run `python *arguments` with `client` on its standard streams; it is dead after the block."""
    loop = asyncio.get_running_loop()
    command = [sys.executable, *arguments]
    transport, process = await loop.subprocess_exec(lambda: Process(client), *command, cwd=ROOT, **options)
    try:
        async with asyncio.timeout(PATIENCE_S):
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


LINKS = {"memory": memory_link, "stdio": stdio_link}
