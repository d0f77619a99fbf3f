"""Multipart bodies: an envelope and attachments. No copy is made but the one into and out of the body."""

from struct import Struct

from python_bridge.errors import BridgeError

MARK = 1
MAX_PARTS = 0xFFFF
_HEAD = Struct(">BH")
_LENGTH = Struct(">I")


def join_parts(parts: list[bytes]) -> bytes:
    """Return the body of `parts` (1 to 65,535), the envelope first.

    Raises:
        BridgeError: `limit_exceeded` for more parts.
    """
    if len(parts) > MAX_PARTS:
        text = f"a message has {len(parts) - 1} attachments; at most {MAX_PARTS - 1} fit"
        raise BridgeError("limit_exceeded", text, details={"limit": "attachments"})
    pieces = [_HEAD.pack(MARK, len(parts))]
    for part in parts:
        pieces += (_LENGTH.pack(len(part)), part)
    return b"".join(pieces)


def split_parts(body: bytes) -> list[bytes]:
    """Return the parts of a multipart body.

    Raises:
        BridgeError: `protocol_error` when the lengths do not add up to the body.
    """
    if len(body) < _HEAD.size:
        raise _malformed(f"it ends after {len(body)} bytes")
    mark, count = _HEAD.unpack_from(body)
    if mark != MARK or count == 0:
        raise _malformed("it has no parts")
    parts: list[bytes] = []
    offset = _HEAD.size
    for number in range(count):
        if len(body) - offset < _LENGTH.size:
            raise _malformed(f"it ends before the length of part {number}")
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += _LENGTH.size
        if length > len(body) - offset:
            raise _malformed(f"part {number} claims {length} bytes, {len(body) - offset} are left")
        parts.append(body[offset : offset + length])
        offset += length
    if offset != len(body):
        raise _malformed(f"{len(body) - offset} bytes follow its last part")
    return parts


def _malformed(why: str) -> BridgeError:
    return BridgeError("protocol_error", f"a multipart body is malformed: {why}")


__all__ = ["MARK", "MAX_PARTS", "join_parts", "split_parts"]
