"""Frames: a 4-byte big-endian length and a body, over any stream of bytes. No I/O here."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct

from python_bridge.errors import BridgeError, ErrorKind

DEFAULT_MAX_FRAME_BYTES = 64 * 1024 * 1024
GARBAGE_LENGTH = 1 << 29
"""A length from here on is no frame: any ASCII text read as a length lies above."""

HEADER = Struct(">I")
HEADER_BYTES = HEADER.size


@dataclass(frozen=True, slots=True)
class FrameFault:
    """A frame that cannot be read. After a fatal one nothing more can be read from the stream."""

    kind: ErrorKind
    message: str
    fatal: bool = False

    def to_error(self) -> BridgeError:
        """Return the error that the sender of the frame gets."""
        return BridgeError(self.kind, self.message)


def encode_frame(body: bytes) -> bytes:
    """Return `body` (1 byte or more) as a frame."""
    return HEADER.pack(len(body)) + body


class FrameDecoder:
    """Cuts a stream of bytes into frames, however the stream is split.

    It stores at most one partial frame, and never reserves memory for bytes that have not arrived.

    Args:
        max_frame_bytes: cap of a body; larger ones are reported and skipped without being stored.
    """

    __slots__ = ("_body", "_head", "_length", "_skip", "closed", "max_frame_bytes")

    def __init__(self, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        self.closed = False
        self._head = b""
        self._body: bytearray | None = None
        self._length = 0
        self._skip = 0

    def feed(self, data: bytes) -> list[bytes | FrameFault]:
        """Take what was read; return the bodies and faults that it completes, in order.

        An empty list means that more bytes are needed. After a fatal fault everything is ignored.
        """
        events: list[bytes | FrameFault] = []
        if self.closed:
            return events
        offset = self._finish_pending(data, events) if self._skip or self._body is not None else 0
        if offset and offset == len(data):
            return events
        if self._head:
            data, offset, self._head = self._head + data[offset:], 0, b""
        self._cut(data, offset, events)
        return events

    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are stored."""
        return len(self._head) + (len(self._body) if self._body is not None else 0)

    def _finish_pending(self, data: bytes, events: list[bytes | FrameFault]) -> int:
        """Skip or complete what an earlier read began; return how much of `data` that took."""
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            return taken
        if (body := self._body) is None:
            return 0
        taken = min(self._length - len(body), len(data))
        body += memoryview(data)[:taken]
        if len(body) == self._length:
            events.append(bytes(body))
            self._body = None
        return taken

    def _cut(self, data: bytes, offset: int, events: list[bytes | FrameFault]) -> None:
        """Cut `data` from `offset` into frames and keep the unfinished rest."""
        size, cap = len(data), self.max_frame_bytes
        while size - offset >= HEADER_BYTES:
            (length,) = HEADER.unpack_from(data, offset)
            offset += HEADER_BYTES
            if 0 < length <= cap:
                end = offset + length
                if end > size:
                    self._length, self._body = length, bytearray(memoryview(data)[offset:])
                    return
                events.append(data[offset:end])
                offset = end
                continue
            events.append(self._refuse(length))
            if self.closed:
                return
            skipped = min(length, size - offset)
            self._skip = length - skipped
            offset += skipped
            if self._skip:
                return
        self._head = data[offset:]

    def _refuse(self, length: int) -> FrameFault:
        if length == 0:
            return FrameFault("protocol_error", "a frame of length 0 was read; a body has at least one byte")
        if length < GARBAGE_LENGTH:
            text = f"a frame of {length} bytes is above the limit of {self.max_frame_bytes} bytes (max_frame_bytes)"
            return FrameFault("limit_exceeded", f"{text}; it was skipped: send the value in parts or raise the limit")
        self.closed = True
        text = f"{HEADER.pack(length)!r} was read where the length of a frame belongs"
        return FrameFault("protocol_error", f"{text}; write nothing but frames to the connection", fatal=True)


def decode_frames(data: bytes, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> Iterable[bytes | FrameFault]:
    """Return the frames and faults of one piece of bytes; an unfinished frame at its end is left out."""
    return FrameDecoder(max_frame_bytes).feed(data)


__all__ = [
    "DEFAULT_MAX_FRAME_BYTES",
    "GARBAGE_LENGTH",
    "FrameDecoder",
    "FrameFault",
    "decode_frames",
    "encode_frame",
]
