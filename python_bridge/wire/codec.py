"""Bodies of frames: tells their encoding by the first byte, and reads and writes each."""

from collections.abc import Callable
from typing import Any, Literal

from python_bridge.errors import BridgeError
from python_bridge.wire import json
from python_bridge.wire.multipart import MARK, join_parts, split_parts
from python_bridge.wire.values import DEFAULT_LIMITS, Limits

Encoding = Literal["json", "msgpack"]
ENCODINGS: tuple[Encoding, ...] = ("json", "msgpack")
Attachments = list[bytes] | None
_JSON_START = ord("{")
_MSGPACK_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})


def _encode_msgpack(value: Any, limits: Limits, attachments: Attachments) -> bytes:
    from python_bridge.wire import msgpack  # costs a starting worker 5 ms, and most peers speak JSON

    return msgpack.encode(value, limits, attachments)


def _decode_msgpack(body: bytes, limits: Limits, attachments: Attachments) -> Any:
    from python_bridge.wire import msgpack

    return msgpack.decode(body, limits, attachments)


_ENCODERS: dict[Encoding, Callable[[Any, Limits, Attachments], bytes]] = {
    "json": json.encode,
    "msgpack": _encode_msgpack,
}


def encode_body(value: dict[str, Any], encoding: Encoding = "json", limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the body of a frame: large byte strings go into attachments by themselves.

    Raises:
        BridgeError: `invalid_input` for values outside the model, `limit_exceeded`.
    """
    attachments: list[bytes] = []
    envelope = _ENCODERS[encoding](value, limits, attachments)
    return join_parts([envelope, *attachments]) if attachments else envelope


def decode_body(body: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[dict[str, Any], Encoding]:
    """Return the map that a body holds, and the encoding of its envelope.

    Raises:
        BridgeError: `protocol_error`, `limit_exceeded`.
    """
    if body[0] == _JSON_START:
        return json.decode(body, limits), "json"
    if body[0] == MARK:
        envelope, *attachments = split_parts(body)
        return _decode_envelope(envelope, limits, attachments)
    return _decode_envelope(body, limits, None)


def encoding_of(body: bytes) -> Encoding | None:
    """Return the encoding of a body's envelope, ``None`` when it cannot be told."""
    if body[:1] == bytes([MARK]):
        body = body[7:8]
    if not body:
        return None
    if body[0] == _JSON_START:
        return "json"
    return "msgpack" if body[0] in _MSGPACK_MAPS else None


def _decode_envelope(envelope: bytes, limits: Limits, attachments: Attachments) -> tuple[dict[str, Any], Encoding]:
    encoding = encoding_of(envelope) if envelope[:1] != bytes([MARK]) else None
    if encoding == "json":
        return json.decode(envelope, limits, attachments), encoding
    if encoding == "msgpack":
        return _decode_msgpack(envelope, limits, attachments), encoding
    first = f"0x{envelope[0]:02X}" if envelope else "nothing"
    text = f"a body begins with {first}; JSON begins with 0x7B, MessagePack with a map, multipart with 0x01"
    raise BridgeError("protocol_error", text)


__all__ = ["ENCODINGS", "Encoding", "decode_body", "encode_body", "encoding_of"]
