"""Payloads ⇄ values."""

from typing import Any

from python_bridge._proto import bridge_pb2 as pb
from python_bridge.errors import BridgeError
from python_bridge.wire import json, msgpack
from python_bridge.wire.values import ArrowData, Limits


def read_params(payload: pb.Payload, limits: Limits, max_bytes: int) -> dict[str, Any]:
    """Return the map that the parameters of a request are; none at all is an empty one.

    Raises:
        BridgeError: `invalid_request`, `protocol_error`, `limit_exceeded`.
    """
    _check_size(payload, max_bytes)
    value = _decode(payload, limits) if payload.data else {}
    if type(value) is not dict:
        raise BridgeError("invalid_request", f"params must hold a map, they hold a {type(value).__name__}")
    return value


def _check_size(payload: pb.Payload, max_bytes: int) -> None:
    size = len(payload.data) + sum(map(len, payload.attachments))
    if size > max_bytes:
        text = f"a payload of {size} bytes is above the limit of {max_bytes} bytes (max_frame_bytes)"
        raise BridgeError("limit_exceeded", text, details={"limit": "max_frame_bytes"})


def _decode(payload: pb.Payload, limits: Limits) -> Any:
    attachments = list(payload.attachments)
    if payload.encoding in (pb.ENCODING_UNSPECIFIED, pb.ENCODING_JSON):
        return json.decode(payload.data, limits, attachments)
    if payload.encoding == pb.ENCODING_MSGPACK:
        return msgpack.decode(payload.data, limits, attachments)
    if payload.encoding == pb.ENCODING_ARROW:
        return {"value": ArrowData(payload.data, limits.max_table_bytes)}
    raise BridgeError("invalid_request", f"no encoding has the number {payload.encoding}; see proto/bridge.proto")


def write_payload(value: Any, encoding: int, limits: Limits, max_bytes: int) -> pb.Payload:
    """Return a payload in an encoding; in Arrow only ``{"value": table}`` can go, all else goes as JSON then.

    Raises:
        BridgeError: `invalid_input` for what is not in the value model, `limit_exceeded`.
    """
    if encoding == pb.ENCODING_ARROW and type(value) is dict and type(value.get("value")) is ArrowData:
        payload = pb.Payload(data=value["value"].ipc, encoding=pb.ENCODING_ARROW)
    else:
        attachments: list[bytes] = []
        packed = encoding == pb.ENCODING_MSGPACK
        data = (msgpack if packed else json).encode(value, limits, attachments)
        chosen = pb.ENCODING_MSGPACK if packed else pb.ENCODING_JSON
        payload = pb.Payload(data=data, encoding=chosen, attachments=attachments)
    _check_size(payload, max_bytes)
    return payload


__all__ = ["read_params", "write_payload"]
