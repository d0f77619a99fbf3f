"""Errors of the closed set as gRPC statuses. The status of each kind is in `proto/errors.toml`."""

from typing import Any, NoReturn

import grpc

from python_bridge._proto import bridge_pb2 as pb
from python_bridge.errors import BridgeError
from python_bridge.wire import json

TRAILER = "dspex-error-bin"
MAX_STATUS_BYTES = 2048
"""Of a status' text as it travels. Clients take 8 KiB of metadata in all, unless they are told otherwise."""
_MAX_MESSAGE_BYTES = 2048
_MAX_DETAILS_BYTES = 2560


def status_of(error: BridgeError) -> grpc.StatusCode:
    """Return the gRPC status of an error."""
    return grpc.StatusCode[error.spec.grpc]


def error_message(error: BridgeError) -> pb.Error:
    """Return what the trailer tells; details that are too large for it are left out."""
    told = pb.Error(
        kind=error.kind,
        code=error.spec.code,
        message=_cut(error.message, _MAX_MESSAGE_BYTES, 1),
        retryable=error.retryable,
        hint=error.hint,
        need=error.need or "",
        retry_after=error.retry_after or 0.0,
    )
    if error.details and (details := _details(error.details)) is not None:
        told.details.CopyFrom(details)
    return told


def status_text(text: str) -> str:
    """Return as much of a text as the status of a call can have: all but printable ASCII takes three times its size."""
    return _cut(text, MAX_STATUS_BYTES, 3)


def _cut(text: str, most: int, escaped: int) -> str:
    if len(text) * 4 * escaped <= most:
        return text
    taken = 0
    for place, character in enumerate(text):
        taken += (
            1 if " " <= character <= "~" and character != "%" else len(character.encode(errors="replace")) * escaped
        )
        if taken > most:
            return text[:place]
    return text


def _details(details: dict[str, Any]) -> pb.Payload | None:
    try:
        data = json.encode(details)
    except BridgeError:
        return None
    return pb.Payload(data=data, encoding=pb.ENCODING_JSON) if len(data) <= _MAX_DETAILS_BYTES else None


def read_error(data: bytes) -> BridgeError:
    """Return the error that a trailer tells of.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no `dspex.bridge.v1.Error`.
    """
    told = pb.Error.FromString(data)
    members = {
        "kind": told.kind,
        "retryable": told.retryable,
        "need": told.need or None,
        "retry_after": told.retry_after or None,
        "details": json.decode(told.details.data) if told.details.data else None,
    }
    return BridgeError.from_object({"message": told.message, "data": members})


async def abort(context: Any, error: BridgeError) -> NoReturn:
    """End an RPC with an error.

    Raises:
        grpc.aio.AbortError: always.
    """
    trailer = ((TRAILER, error_message(error).SerializeToString()),)
    await context.abort(status_of(error), status_text(error.message), trailer)
    raise AssertionError("abort returned")


__all__ = ["MAX_STATUS_BYTES", "TRAILER", "abort", "error_message", "read_error", "status_of", "status_text"]
