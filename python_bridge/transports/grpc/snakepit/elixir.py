"""The way back: calls from the worker to the BEAM that runs Snakepit."""

import contextlib
import json
import re
from collections.abc import Iterable
from typing import Any

import grpc

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge._proto.snakepit_bridge_pb2_grpc import BridgeServiceStub
from python_bridge.errors import BridgeError
from python_bridge.transports.grpc.snakepit.tools import Tool
from python_bridge.transports.grpc.snakepit.values import read_any, write_any

_REGISTER_S = 10.0
_NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Names that the BEAM registers: with any other among them it refuses them all."""
_NO_SESSION = "not_found"


def spec_of(tool: Tool, kind: Any = pb.ToolSpec) -> Any:
    """Return a tool as a `ToolSpec`, or as the `ToolRegistration` that has the same fields."""
    parameters = [
        pb.ParameterSpec(name=p.name, type=p.type, description=p.description, required=p.required)
        for p in tool.parameters
    ]
    streams = tool.streams
    return kind(name=tool.name, description=tool.description, parameters=parameters, supports_streaming=streams)


class Elixir:
    """A client of the BEAM.

    Args:
        address: ``host:port``, ``None`` when the worker was started without one.
    """

    def __init__(self, address: str | None) -> None:
        self._channel = grpc.aio.insecure_channel(address) if address else None
        self._stub: Any = BridgeServiceStub(self._channel) if self._channel else None

    async def register(self, session: str, worker: str, tools: Iterable[Tool]) -> None:
        """Tell the BEAM of this worker's tools; a BEAM that does not want to know is no trouble."""
        if self._stub is None:
            return
        registrations = [spec_of(tool, pb.ToolRegistration) for tool in tools if _NAMES.fullmatch(tool.name)]
        request = pb.RegisterToolsRequest(session_id=session, tools=registrations, worker_id=worker)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._open(session)
            await self._stub.RegisterTools(request, timeout=_REGISTER_S)

    async def _open(self, session: str) -> None:
        """Let the BEAM know the worker's session: it does not by itself, and forgets one that is not used for long."""
        await self._stub.InitializeSession(pb.InitializeSessionRequest(session_id=session), timeout=_REGISTER_S)

    async def run_tool(self, session: str, name: str, arguments: dict[str, Any]) -> Any:
        """Run a tool that Elixir registered on the worker's session; cancelling this cancels the call.

        Raises:
            BridgeError: `tool_error`.
        """
        if self._stub is None:
            raise _failed(name, "the worker was started without --elixir-address")
        parameters = {key: write_any(value) for key, value in arguments.items()}
        request = pb.ExecuteElixirToolRequest(session_id=session, tool_name=name, parameters=parameters)
        try:
            response = await self._stub.ExecuteElixirTool(request)
            if not response.success and response.error_message == _NO_SESSION:
                await self._open(session)
                response = await self._stub.ExecuteElixirTool(request)
        except grpc.aio.AioRpcError as error:
            raise _failed(name, f"{error.code().name}: {error.details()}") from None
        if not response.success:
            raise _failed(name, _message(response.error_message))
        if response.binary_result:
            return response.binary_result
        return read_any(response.result, f"result of {name}") if response.result.value else None

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()


def _message(text: str) -> str:
    """Return the words of an error, which may be JSON like our own."""
    with contextlib.suppress(ValueError):
        told = json.loads(text)
        if isinstance(told, dict) and isinstance(told.get("message"), str):
            return told["message"]
    return text or "no reason was given"


def _failed(tool: str, reason: str) -> BridgeError:
    return BridgeError("tool_error", f"the tool {tool!r} failed: {reason[:2000]}", details={"tool": tool})


__all__ = ["Elixir", "spec_of"]
