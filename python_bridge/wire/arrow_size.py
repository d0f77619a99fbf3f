"""What an Arrow IPC stream needs when its compressed buffers are read, told by its metadata before any is.

A kilobyte of zstd can stand for gigabytes, and pyarrow has no limit for that. The layouts are those of Arrow's
`Message.fbs`: tables of flatbuffers, of which four members matter here.
"""

import struct
from typing import Any

_DICTIONARY, _RECORDS = 2, 3
_HEADER_TYPE, _HEADER = 1, 2  # of Message
_DATA = 1  # of DictionaryBatch
_BUFFERS, _COMPRESSION = 2, 3  # of RecordBatch
_NOT_COMPRESSED = -1
_OLD_COMPRESSION = b"ARROW:experimental_compression"  # how streams of version 4 tell theirs


def decoded_bytes(arrow: Any, ipc: Any) -> int:
    """Return the bytes that the compressed buffers of a stream say they become; those that are not lie where they are.

    Args:
        arrow: pyarrow.
        ipc: a `pyarrow.Buffer`.

    Raises:
        ValueError: the metadata cannot be read.
    """
    total = 0
    for message in arrow.ipc.MessageReader.open_stream(ipc):
        try:
            total += _of_message(bytes(message.metadata), message.body)
        except (struct.error, IndexError) as error:
            raise ValueError(f"a message of the stream cannot be read: {error}") from None
    return total


def _of_message(metadata: bytes, body: Any) -> int:
    message = _follow(metadata, 0)
    kind = _member(metadata, message, _HEADER_TYPE)
    header = _member(metadata, message, _HEADER)
    if kind is None or header is None or metadata[kind] not in (_DICTIONARY, _RECORDS):
        return 0
    batch = _follow(metadata, header)
    if metadata[kind] == _DICTIONARY:
        data = _member(metadata, batch, _DATA)
        if data is None:
            return 0
        batch = _follow(metadata, data)
    buffers = _member(metadata, batch, _BUFFERS)
    compressed = _member(metadata, batch, _COMPRESSION) is not None or _OLD_COMPRESSION in metadata
    if buffers is None or not compressed:
        return 0
    return _of_buffers(metadata, _follow(metadata, buffers), memoryview(body))


def _of_buffers(metadata: bytes, vector: int, body: memoryview) -> int:
    """Every compressed buffer begins with its size when decoded; two may lie on the same bytes, and count twice."""
    (count,) = struct.unpack_from("<I", metadata, vector)
    total = 0
    for offset, length in struct.iter_unpack("<qq", metadata[vector + 4 : vector + 4 + 16 * count]):
        if length >= 8 and offset >= 0:
            (size,) = struct.unpack_from("<q", body, offset)
            total += 0 if size == _NOT_COMPRESSED else max(size, 0)
    return total


def _follow(data: bytes, position: int) -> int:
    return position + struct.unpack_from("<I", data, position)[0]


def _member(data: bytes, table: int, index: int) -> int | None:
    """Return where a member of a table lies; ``None`` when it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise struct.error("a table begins before the message")
    place = 4 + 2 * index
    if struct.unpack_from("<H", data, vtable)[0] <= place:
        return None
    (offset,) = struct.unpack_from("<H", data, vtable + place)
    return table + offset if offset else None


__all__ = ["decoded_bytes"]
