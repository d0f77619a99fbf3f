"""Whose message it was, when a body cannot be decoded: told from its first members, which senders write in order."""

import re

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import MAX_ID

_JSON = re.compile(rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,16})\s*,\s*"(method|result|error)"')
_MSGPACK = re.compile(
    rb"[\x82-\x8f]\xa7jsonrpc\xa32\.0\xa2id(?:([\x00-\x7f])|\xcc(.)|\xcd(.{2})|\xce(.{4})|\xcf(.{8}))"
    rb"(?:\xa6(method|result)|\xa5(error))",
    re.DOTALL,
)
_MULTIPART_HEAD = 7
_PREFIX = 200


def salvage_id(body: bytes) -> tuple[int, bool] | None:
    """Return the id of a message and whether it is a request (else a response); ``None`` when neither can be told."""
    start = _MULTIPART_HEAD if body[:1] == b"\x01" else 0
    head = body[start : start + _PREFIX]
    if match := _JSON.match(head):
        number, member = int(match[1]), match[2]
    elif match := _MSGPACK.match(head):
        number = int.from_bytes(next(group for group in match.groups()[:5] if group is not None), "big")
        member = match[6] or match[7]
    else:
        return None
    return (number, member == b"method") if number <= MAX_ID else None


def lost_result(error: BridgeError) -> BridgeError:
    """Return what the caller of a request gets when its response cannot be read."""
    return BridgeError(error.kind, f"the response cannot be read: {error.message}", details=error.details)


__all__ = ["lost_result", "salvage_id"]
