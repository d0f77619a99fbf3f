"""Errors of the closed set as gRPC statuses. The status of each kind is in `proto/errors.toml`."""

from typing import Any, NoReturn

import grpc

from python_bridge._proto import bridge_pb2 as pb
from python_bridge.errors import BridgeError
from python_bridge.wire import json

TRAILER = "dspex-error-bin"
_MAX_MESSAGE = 1024
_MAX_DETAILS_BYTES = 3072
"""Clients take 8 KiB of metadata in all, unless they are told otherwise."""


def status_of(error: BridgeError) -> grpc.StatusCode:
    """Return the gRPC status of an error."""
    return grpc.StatusCode[error.spec.grpc]


def error_message(error: BridgeError) -> pb.Error:
    """Return what the trailer tells; details that are too large for it are left out."""
    told = pb.Error(
        kind=error.kind,
        code=error.spec.code,
        message=error.message[:_MAX_MESSAGE],
        retryable=error.retryable,
        hint=error.spec.hint,
        need=error.need or "",
        retry_after=error.retry_after or 0.0,
    )
    if error.details and (details := _details(error.details)) is not None:
        told.details.CopyFrom(details)
    return told


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
    await context.abort(status_of(error), error.message[:_MAX_MESSAGE], trailer)
    raise AssertionError("abort returned")


__all__ = ["TRAILER", "abort", "error_message", "read_error", "status_of"]
