"""Does with a worker what Snakepit does: argv, environment, ready file, order of calls, signals."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from links import PATIENCE_S, ROOT

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge._proto.snakepit_bridge_pb2_grpc import (
    BridgeServiceServicer,
    BridgeServiceStub,
    add_BridgeServiceServicer_to_server,
)
from python_bridge.transports.grpc import SNAKEPIT_SCRIPT

KILL_AFTER_S = 6.0
TOOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.]{0,63}")
LABEL = "type.googleapis.com/google.protobuf.StringValue"


def any_of(value: Any) -> AnyMessage:
    """A value as Elixir writes it."""
    return AnyMessage(type_url=LABEL, value=json.dumps(value).encode())


class Beam(BridgeServiceServicer):
    """Elixir's side: knows the sessions that it was told of, takes registrations, and runs the tools it is given."""

    def __init__(self, tools: dict[str, Any]) -> None:
        self.tools = tools
        self.sessions: set[str] = set()
        self.registered: asyncio.Future[pb.RegisterToolsRequest] = asyncio.get_running_loop().create_future()

    async def InitializeSession(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.sessions.add(request.session_id)
        return pb.InitializeSessionResponse(success=True)

    async def RegisterTools(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.session_id not in self.sessions:
            return pb.RegisterToolsResponse(success=False, error_message="not_found")
        if not all(TOOL_NAME.fullmatch(tool.name) for tool in request.tools):
            return pb.RegisterToolsResponse(success=False, error_message="{:invalid_tool_name, :invalid_format}")
        self.registered.set_result(request)
        return pb.RegisterToolsResponse(success=True, tool_ids={tool.name: tool.name for tool in request.tools})

    async def ExecuteElixirTool(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.session_id not in self.sessions:
            return pb.ExecuteElixirToolResponse(success=False, error_message="not_found")
        arguments = {name: json.loads(value.value) for name, value in request.parameters.items()}
        try:
            value = await self.tools[request.tool_name](request.session_id, arguments)
        except Exception as error:
            return pb.ExecuteElixirToolResponse(success=False, error_message=json.dumps({"message": str(error)}))
        return pb.ExecuteElixirToolResponse(success=True, result=any_of(value))


class Pooled:
    """One worker as Snakepit holds it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, channel: grpc.aio.Channel, beam: Beam) -> None:
        self.process = process
        self.port = port
        self.channel = channel
        self.stub: Any = BridgeServiceStub(channel)
        self.beam = beam
        self.session = "session of the worker"
        self.available: dict[str, Any] = {}

    async def join(self) -> Any:
        """Ping → InitializeSession → StreamTelemetry → Heartbeat; return the telemetry stream."""
        assert (await self.stub.Ping(pb.PingRequest(message="ping"))).message
        begun = await self.stub.InitializeSession(pb.InitializeSessionRequest(session_id=self.session))
        self.available = dict(begun.available_tools)
        telemetry = self.stub.StreamTelemetry(timeout=PATIENCE_S)
        await telemetry.initial_metadata()
        assert (await self.heartbeat()).session_valid
        return telemetry

    async def heartbeat(self) -> Any:
        return await self.stub.Heartbeat(pb.HeartbeatRequest(session_id=self.session), timeout=10)

    def asked(self, tool: str, parameters: dict[str, Any], binary: dict[str, bytes] | None = None) -> Any:
        values = {name: any_of(value) for name, value in parameters.items()}
        return pb.ExecuteToolRequest(
            session_id=self.session, tool_name=tool, parameters=values, binary_parameters=binary or {}
        )

    async def execute(self, tool: str, **parameters: Any) -> Any:
        """The value of a tool, as `Snakepit.execute` gives it."""
        response = await self.stub.ExecuteTool(self.asked(tool, parameters))
        assert response.success, response.error_message
        return response.binary_result or json.loads(response.result.value)

    async def error(self, request: Any) -> dict[str, Any]:
        """The error of a tool."""
        response = await self.stub.ExecuteTool(request)
        assert not response.success
        told = json.loads(response.error_message)
        assert set(told) == {"type", "message", "stacktrace", "traceback", "context"}
        return told

    async def stop(self) -> int:
        """SIGTERM, and SIGKILL 6 s later; the status of the process."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.process.wait(), KILL_AFTER_S)
        self.process.kill()
        return await self.process.wait()


def arguments(port: int, *more: str, name: str = "pool_worker_1") -> list[str]:
    """What follows the script on the command line."""
    own = ["--engine", "scripted", *more, "--port", "0", "--elixir-address", f"127.0.0.1:{port}"]
    return [*own, "--snakepit-run-id", "k3j2h1g", "--snakepit-instance-name", name, "--snakepit-instance-token", "t0"]


async def start(ready: Path, command: list[str], **environ: str) -> asyncio.subprocess.Process:
    """Start a worker; it tells its port in the file `ready`."""
    variables = {**os.environ, "SNAKEPIT_READY_FILE": str(ready), "OMP_NUM_THREADS": "1", **environ}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=variables, stdin=pipe, stdout=pipe, stderr=pipe)


def read_port(ready: Path) -> int:
    return int(ready.read_text())


async def port_of(ready: Path, process: asyncio.subprocess.Process) -> int:
    """Wait for the ready file as Snakepit does, by looking."""
    async with asyncio.timeout(PATIENCE_S):
        while not os.path.exists(ready):  # noqa: ASYNC240 - Snakepit looks for it like this
            assert process.returncode is None, "the worker ended before it was ready"
            await asyncio.sleep(0.005)
    return read_port(ready)


@asynccontextmanager
async def pooled(
    folder: Path, *more: str, tools: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Pooled]:
    """A worker that was started and not yet spoken to; dead after the block."""
    beam, server = Beam(tools or {}), grpc.aio.server()
    add_BridgeServiceServicer_to_server(beam, server)
    beam_port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready = folder / f"ready-{os.urandom(4).hex()}"
    process = await start(ready, [sys.executable, str(SNAKEPIT_SCRIPT), *arguments(beam_port, *more, **options)])
    try:
        async with asyncio.timeout(PATIENCE_S):
            port = await port_of(ready, process)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield Pooled(process, port, channel, beam)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        await server.stop(None)
