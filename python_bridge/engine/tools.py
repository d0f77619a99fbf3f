"""The client's functions as DSPy tools."""

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy
import jsonschema_rs

from python_bridge.engine.outputs import to_plain
from python_bridge.engine.scope import CallScope, current_scope
from python_bridge.errors import BridgeError

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


class ClientTool:
    """One tool of the client: arguments are checked here, then the client is asked.

    In a task it gives a coroutine; in a thread it waits for the call's loop, and a cancelled call raises there.

    Args:
        declared: the program's entry in `tools`: `name, desc?, schema?, timeout_ms?`.
    """

    def __init__(self, declared: Mapping[str, Any]) -> None:
        self.name = str(declared["name"])
        self.__name__ = self.name
        self.__doc__ = str(declared.get("desc", ""))
        self._timeout = declared["timeout_ms"] / 1000 if "timeout_ms" in declared else None
        schema = declared.get("schema")
        try:
            self._validator = jsonschema_rs.validator_for(schema) if schema else None
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            reason = str(error).partition("\n")[0]
            raise BridgeError("invalid_request", f"the schema of the tool `{self.name}` is wrong: {reason}") from None

    def __call__(self, **arguments: Any) -> Any:
        scope = current_scope()
        if scope is None:
            raise BridgeError("tool_error", f"the tool `{self.name}` was called outside of a call")
        coroutine = self._call(scope, arguments)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return scope.run(coroutine)
        return coroutine

    async def _call(self, scope: CallScope, arguments: dict[str, Any]) -> Any:
        plain = to_plain(arguments)
        scope.tool_calls += 1
        call_id = f"{scope.context.request_id}-{scope.tool_calls}"
        await _emit(scope, {"type": "tool_start", "tool": self.name, "call_id": call_id, "arguments": plain})
        try:
            value = await self._ask(scope, plain, call_id)
        except BridgeError as error:
            failed = {"type": "tool_end", "tool": self.name, "call_id": call_id, "ok": False, "error": error.message}
            await _emit(scope, failed)
            raise
        await _emit(scope, {"type": "tool_end", "tool": self.name, "call_id": call_id, "ok": True, "result": value})
        return value

    async def _ask(self, scope: CallScope, arguments: dict[str, Any], call_id: str) -> Any:
        if scope.context.call_tool is None:
            raise self._error("the client does not answer tool calls (capabilities.tools)")
        if self._validator is not None:
            problems = [error.message for error in self._validator.iter_errors(arguments)][:5]
            if problems:
                raise self._error(f"wrong arguments: {'; '.join(problems)}")
        return await scope.context.call_tool(self.name, arguments, call_id, self._wait(scope))

    def _wait(self, scope: CallScope) -> float | None:
        if scope.context.deadline is None:
            return self._timeout
        left = max(0.0, scope.context.deadline - scope.loop.time())
        return left if self._timeout is None else min(left, self._timeout)

    def _error(self, reason: str) -> BridgeError:
        return BridgeError("tool_error", f"the tool `{self.name}` failed: {reason}", details={"tool": self.name})


async def _emit(scope: CallScope, event: dict[str, Any]) -> None:
    if scope.stream is not None:
        await scope.stream.event(event)


def make_tool(declared: Mapping[str, Any]) -> dspy.Tool:
    """Return the DSPy tool for one entry of a program's `tools`.

    Raises:
        BridgeError: `invalid_request` for a schema that is not one of an object.
    """
    tool = ClientTool(declared)
    schema = declared.get("schema") or {}
    properties = schema.get("properties", {})
    if schema and (schema.get("type", "object") != "object" or not isinstance(properties, Mapping)):
        raise BridgeError("invalid_request", f"the schema of the tool `{tool.name}` must be one of an object")
    arguments = {name: dict(item) if isinstance(item, Mapping) else {} for name, item in properties.items()}
    types = {name: _TYPES.get(str(item.get("type")), Any) for name, item in arguments.items()}
    built = dspy.Tool(tool, name=tool.name, desc=tool.__doc__ or tool.name, args=arguments, arg_types=types)
    built.has_kwargs = not schema or schema.get("additionalProperties", True) is not False
    return built


__all__ = ["ClientTool", "make_tool"]
