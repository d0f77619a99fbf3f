"""`snakepit.bridge.BridgeService` before one worker process. Nothing but tools waits for that process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge._proto.snakepit_bridge_pb2_grpc import BridgeServiceServicer
from python_bridge.errors import BridgeError
from python_bridge.services.faults import to_bridge_error
from python_bridge.transports.grpc.snakepit.elixir import Elixir, spec_of
from python_bridge.transports.grpc.snakepit.samples import Samples
from python_bridge.transports.grpc.snakepit.telemetry import Feed, Telemetry
from python_bridge.transports.grpc.snakepit.tools import Parameter, Planned, Tool, check, tools_of
from python_bridge.transports.grpc.snakepit.values import (
    error_details,
    error_json,
    named,
    read_parameters,
    to_json,
    write_any,
)

if TYPE_CHECKING:
    from python_bridge.transports.exchange import Exchange
    from python_bridge.transports.link import WorkerLink

LocalTool = Callable[[], Awaitable[Any]]
_MAX_SESSIONS = 1024
_MAX_SESSION_BYTES = 64 * 1024
_MAX_FEEDS = 64
_HIDDEN = frozenset({"initialize", "shutdown", "call", "module.call"})


class Snakepit(BridgeServiceServicer):
    """Answers Snakepit.

    Args:
        worker: gives the link to the worker process, once there is one.
        elixir: the way back.
        programs: registered programs by name.
        local: tools that need no worker process, with their descriptions.
    """

    def __init__(
        self,
        worker: Callable[[], Awaitable["WorkerLink"]],
        elixir: Elixir,
        programs: dict[str, dict[str, Any]],
        local: Mapping[str, tuple[str, LocalTool]],
        name: str,
    ) -> None:
        self.telemetry = Telemetry()
        self._samples = Samples(self.telemetry, self._status)
        self._worker = worker
        self._elixir = elixir
        self._local = local
        self._name = name
        self._programs = programs
        self._sessions: dict[str, pb.GetSessionResponse] = {}
        self._session = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls = 0

    @cached_property
    def _tools(self) -> dict[str, Tool]:
        """All tools by name; the ready file does not wait for them."""
        local = {key: _local_tool(key, description) for key, (description, _) in self._local.items()}
        return {**tools_of(self._programs), **local}

    # -- control: answered whatever the worker process does ---------------------------------------------------

    async def Ping(self, request: pb.PingRequest, context: Any) -> pb.PingResponse:  # noqa: N802 - gRPC's names
        return pb.PingResponse(message=request.message or "pong", server_time=_now())

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Any) -> pb.HeartbeatResponse:  # noqa: N802
        return pb.HeartbeatResponse(server_time=_now(), session_valid=True)

    async def InitializeSession(  # noqa: N802
        self, request: pb.InitializeSessionRequest, context: Any
    ) -> pb.InitializeSessionResponse:
        session = request.session_id
        if (size := request.ByteSize()) > _MAX_SESSION_BYTES:
            text = f"a session of {size} bytes is above the limit of {_MAX_SESSION_BYTES} bytes"
            return pb.InitializeSessionResponse(success=False, error_message=text)
        if session not in self._sessions and len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        told = pb.GetSessionResponse(session_id=session, metadata=request.metadata, created_at=_now())
        told.tool_count = len(self._tools)
        self._sessions[session] = told
        self._session = self._session or session
        self._keep(self._elixir.register(session, self._name, self._tools.values()))
        tools = {name: spec_of(tool) for name, tool in self._tools.items()}
        return pb.InitializeSessionResponse(success=True, available_tools=tools)

    async def GetSession(self, request: pb.GetSessionRequest, context: Any) -> pb.GetSessionResponse:  # noqa: N802
        if request.session_id not in self._sessions:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no session {request.session_id[:80]!r}")
        return self._sessions[request.session_id]

    async def CleanupSession(  # noqa: N802
        self, request: pb.CleanupSessionRequest, context: Any
    ) -> pb.CleanupSessionResponse:
        found = self._sessions.pop(request.session_id, None) is not None
        return pb.CleanupSessionResponse(success=True, resources_cleaned=int(found))

    async def GetExposedElixirTools(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _of_the_beam(context)

    async def RegisterTools(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _of_the_beam(context)

    async def ExecuteElixirTool(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await _of_the_beam(context)

    async def StreamTelemetry(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        if len(self.telemetry.feeds) >= _MAX_FEEDS:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_FEEDS} streams of telemetry are open already"
            )
        await context.send_initial_metadata(())
        feed = Feed()
        self.telemetry.feeds.add(feed)
        self._samples.start()

        async def obey() -> None:
            async for message in request_iterator:
                feed.control(message)

        obeying = asyncio.ensure_future(obey())
        try:
            while True:
                await context.write(await feed.get())
        except grpc.aio.InternalError:
            return  # the client is gone
        finally:
            obeying.cancel()
            self.telemetry.feeds.discard(feed)
            self._samples.stop()

    async def _status(self) -> dict[str, Any]:
        return await (await self._worker()).ask("worker/status", {}, {}).answer

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- tools ------------------------------------------------------------------------------------------------

    async def run_elixir_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run a tool of Elixir's for the worker process."""
        return await self._elixir.run_tool(self._session, name, arguments)

    async def ExecuteTool(self, request: pb.ExecuteToolRequest, context: Any) -> pb.ExecuteToolResponse:  # noqa: N802
        started = time.monotonic()
        try:
            with self._told(request) as correlation:
                result = await self._run(request, context, correlation)
                response = _response(result)
                size = len(response.result.value) + len(response.binary_result)
                self.telemetry.tell(
                    "tool.result_size", {"message_size": size}, {"tool": named(request.tool_name)}, correlation
                )
        except Exception as exception:
            error = to_bridge_error(exception, named(request.tool_name))
            response = pb.ExecuteToolResponse(success=False, error_message=error_json(error, request.tool_name))
        response.metadata.update({"worker": self._name})
        response.execution_time_ms = int((time.monotonic() - started) * 1000)
        return response

    async def _run(self, request: pb.ExecuteToolRequest, context: Any, correlation: str) -> Any:
        if (local := self._local.get(request.tool_name)) is not None:
            return await local[1]()
        async with self._asked(request, context, correlation, stream=False) as (_, exchange):
            result = await exchange.answer
        return result["value"] if request.tool_name == "echo" else result

    async def ExecuteStreamingTool(self, request: pb.ExecuteToolRequest, context: Any) -> None:  # noqa: N802
        try:
            with self._told(request) as correlation:
                await self._stream(request, context, correlation)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.InternalError:
            return  # the client is gone
        except Exception as exception:
            error = to_bridge_error(exception, named(request.tool_name))
            await context.abort(grpc.StatusCode.INTERNAL, error_details(error, request.tool_name))

    async def _stream(self, request: pb.ExecuteToolRequest, context: Any, correlation: str) -> None:
        if request.tool_name in self._local:
            result, count = await self._run(request, context, correlation), 0
        else:
            async with self._asked(request, context, correlation, stream=True) as (link, exchange):
                count = 0
                while (item := await exchange.events.get()) is not None:
                    await context.write(_chunk(correlation, count, item[1], final=False))
                    link.grant(exchange)
                    count += 1
                result = await exchange.answer
        await context.write(_chunk(correlation, count, result, final=True))

    @asynccontextmanager
    async def _asked(
        self, request: pb.ExecuteToolRequest, context: Any, correlation: str, *, stream: bool
    ) -> AsyncIterator[tuple["WorkerLink", "Exchange"]]:
        """Ask the worker; whoever leaves before the answer is there cancels the work."""
        planned = await self._planned(request, context, stream)
        link = await self._worker()
        about = {"tool": named(request.tool_name), "operation": planned.method}
        with self.telemetry.span("python.call", about, correlation):
            exchange = link.ask(planned.method, planned.params, planned.meta)
            try:
                yield link, exchange
            finally:
                link.cancel(exchange)

    async def _planned(self, request: pb.ExecuteToolRequest, context: Any, stream: bool) -> Planned:
        values = read_parameters(request.parameters, request.binary_parameters)
        tool = self._tools.get(request.tool_name) or await self._found(request.tool_name)
        check(tool, values)
        planned = tool.plan(values)
        meta = {**planned.meta, **({"stream": True} if stream and tool.streams else {})}
        if (remaining := context.time_remaining()) is not None:
            meta["deadline_ms"] = max(0, int(remaining * 1000))
        return Planned(planned.method, planned.params, meta)

    async def _found(self, name: str) -> Tool:
        """Return a tool for an operation that only the worker knows of."""
        operations = (await asyncio.shield((await self._worker()).greeted))["operations"]
        if name not in operations or name in _HIDDEN:
            known = ", ".join(sorted({*self._tools, *(set(operations) - _HIDDEN)}))
            raise BridgeError("not_found", f"no tool {name[:80]!r}; known are {known}")
        from python_bridge.transports.grpc.snakepit.passed import passed_tool

        tool = self._tools[name] = passed_tool(name)
        return tool

    @contextmanager
    def _told(self, request: pb.ExecuteToolRequest) -> Iterator[str]:
        """Tell of the begin and the end of a tool."""
        self._calls += 1
        correlation = named(request.metadata.get("correlation_id") or f"{self._name}-{self._calls}")
        about = {"tool": named(request.tool_name)}
        try:
            with self.telemetry.span("tool.execution", about, correlation):
                yield correlation
        except Exception as exception:
            kind = exception.kind if isinstance(exception, BridgeError) else "internal"
            about["error_type"] = kind
            self.telemetry.tell("python.error.occurred", {"count": 1}, about, correlation)
            raise


def _local_tool(name: str, description: str) -> Tool:
    none: tuple[Parameter, ...] = ()
    return Tool(name, description, none, lambda values: Planned(name, values, {}))


def _response(result: Any) -> pb.ExecuteToolResponse:
    if isinstance(result, bytes) and result:  # none at all would look like no result
        return pb.ExecuteToolResponse(success=True, binary_result=result)
    return pb.ExecuteToolResponse(success=True, result=write_any(result))


def _chunk(correlation: str, number: int, value: Any, *, final: bool) -> pb.ToolChunk:
    data = to_json(value if isinstance(value, dict) else {"value": value}).encode()
    return pb.ToolChunk(chunk_id=f"{correlation}-{number}", data=data, is_final=final)


def _now() -> Timestamp:
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


async def _of_the_beam(context: Any) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the BEAM answers this; call it at --elixir-address")


__all__ = ["LocalTool", "Snakepit"]
