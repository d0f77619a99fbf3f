"""Values in Snakepit's messages: JSON text in the `value` of an `Any`, byte strings beside it."""

import json
import math
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from python_bridge.errors import BridgeError

_LABEL = "type.googleapis.com/google.protobuf.StringValue"
_TAG = "$type"
_MAX_NAME = 128
MAX_DETAILS_BYTES = 6144
"""Clients take 8 KiB of metadata in all, unless they are told otherwise."""
_PLAIN = frozenset({str, int, bool, type(None)})


def read_any(message: AnyMessage, name: str) -> Any:
    """Return the value of the parameter `name`; the type's label says nothing and is not looked at.

    Raises:
        BridgeError: `invalid_request`: it is no JSON.
    """
    try:
        value = json.loads(message.value, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        text = f"the parameter {name[:80]!r} is no JSON text: {str(error)[:200]}"
        raise BridgeError("invalid_request", text) from None
    if f'"{_TAG}"'.encode() in message.value:
        from python_bridge.wire.json_tags import Untagger
        from python_bridge.wire.values import DEFAULT_LIMITS

        return Untagger(DEFAULT_LIMITS, []).value(value, 1)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not part of JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:40]} is beyond the range of a float")
    return value


def read_parameters(values: Any, binary: Any) -> dict[str, Any]:
    """Return the parameters of a tool: JSON ones and byte strings.

    Raises:
        BridgeError: `invalid_request`.
    """
    parameters = {name: read_any(message, name) for name, message in values.items()}
    if both := parameters.keys() & binary.keys():
        raise BridgeError("invalid_request", f"{sorted(both)[0]!r} is in parameters and in binary_parameters")
    return {**parameters, **binary}


def to_json(value: Any) -> str:
    """Return plain JSON: integers of any size as they are, what JSON lacks with the tags of PROTOCOL.md.

    Raises:
        BridgeError: `invalid_input` for what is not in the value model.
    """
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict and _TAG not in value:
        return {key: _plain(item) for key, item in value.items()}
    if kind is list:
        return [_plain(item) for item in value]
    from python_bridge.wire import json as wire_json

    return json.loads(wire_json.encode(value))


def write_any(value: Any) -> AnyMessage:
    """Return an `Any` as Snakepit reads it.

    Raises:
        BridgeError: `invalid_input` for what is not in the value model.
    """
    return AnyMessage(type_url=_LABEL, value=to_json(value).encode())


def named(name: str) -> str:
    """Return as much of a name that somebody gave as is told again: in errors, and in events that wait for readers."""
    return name[:_MAX_NAME]


def error_json(error: BridgeError, tool: str) -> str:
    """Return the text that Snakepit maps to its own error."""
    told = _told(error, tool)
    try:
        return to_json(told)
    except (BridgeError, RecursionError):  # details of a tool may hold anything
        told["context"].pop("details", None)
        return to_json(told)


def error_details(error: BridgeError, tool: str) -> str:
    """Return the same in the size that the details of a status may have: without what is too large for that."""
    told = json.loads(error_json(error, tool))
    if _travels_in(text := json.dumps(told)) <= MAX_DETAILS_BYTES:
        return text
    told["stacktrace"], told["traceback"] = [], ""
    told["context"].pop("details", None)
    while _travels_in(text := json.dumps(told)) > MAX_DETAILS_BYTES:
        told["message"] = told["message"][: len(told["message"]) * 3 // 4]
    return text


def _travels_in(text: str) -> int:
    """Return the bytes that ASCII text takes in a status."""
    return len(text) + 2 * text.count("%")


def _told(error: BridgeError, tool: str) -> dict[str, Any]:
    context: dict[str, Any] = {"tool": named(tool), "retryable": error.retryable, "hint": error.hint}
    optional = {"need": error.need, "retry_after": error.retry_after, "details": error.details or None}
    context.update({name: value for name, value in optional.items() if value is not None})
    traceback = error.traceback or ""
    return {
        "type": error.kind,
        "message": error.message,
        "stacktrace": traceback.splitlines(),
        "traceback": traceback,
        "context": context,
    }


__all__ = [
    "MAX_DETAILS_BYTES",
    "error_details",
    "error_json",
    "named",
    "read_any",
    "read_parameters",
    "to_json",
    "write_any",
]
