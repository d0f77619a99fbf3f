"""Bytes of an HTTP/1.1 response → its head and pieces of its body. No I/O."""

from dataclasses import dataclass, field

MAX_HEAD = 64 * 1024
_MAX_CHUNK_LINE = 1024


class BadResponse(Exception):
    """The bytes are no HTTP/1.1 response, or are larger than allowed."""


@dataclass(slots=True)
class Head:
    """Status and headers; header names are in lower case, repeated ones joined by commas."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])


class ResponseParser:
    """One response.

    `feed` takes bytes in any portions. `head` is set once it is complete; `take` gives the body that has come.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.complete = False
        self.keep_alive = False
        self._buffer = bytearray()
        self._body: list[bytes] = []
        self._left = 0
        self._chunked = False
        self._until_close = False
        self._in_trailer = False

    @property
    def started(self) -> bool:
        """Whether any byte of the response has come."""
        return self.head is not None or bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadResponse: they are no HTTP response.
        """
        self._buffer += data
        if self.head is None and not self._read_head():
            return
        if self._chunked:
            while self._read_chunk():
                pass
        elif self._buffer:
            self._read_plain()

    def finish(self) -> None:
        """The other side has closed the connection.

        Raises:
            BadResponse: in the middle of the response.
        """
        if self._until_close and self.head is not None:
            self.complete = True
        if not self.complete:
            raise BadResponse("the connection was closed before the answer was complete")

    def take(self) -> bytes:
        """Return the body that came since the last time."""
        body, self._body = b"".join(self._body), []
        return body

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadResponse("the head of the answer is too large")
            return False
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        head = Head(_status(lines[0]), _headers(lines[1:]))
        if 100 <= head.status < 200:
            return self._read_head()
        self._begin(head, lines[0])
        return True

    def _begin(self, head: Head, status_line: str) -> None:
        headers = head.headers
        self.head = head
        self.keep_alive = status_line.startswith("HTTP/1.1") and "close" not in headers.get("connection", "").lower()
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self._chunked = True
        elif "content-length" in headers:
            self._left = _length(headers["content-length"], 10)
        elif head.status not in (204, 304):
            self._until_close, self.keep_alive = True, False
        self.complete = not self._chunked and not self._until_close and self._left == 0

    def _read_plain(self) -> None:
        if self._until_close:
            self._body.append(bytes(self._buffer))
            self._buffer.clear()
            return
        part = bytes(self._buffer[: self._left])
        del self._buffer[: len(part)]
        self._left -= len(part)
        self._body.append(part)
        self.complete = self._left == 0

    def _read_chunk(self) -> bool:
        """Read as much of the next chunk as there is; return whether to go on."""
        if self._left > 2:
            part = bytes(self._buffer[: self._left - 2])
            del self._buffer[: len(part)]
            self._left -= len(part)
            self._body.append(part)
            return bool(self._buffer)
        if self._left:  # the line end after a chunk's data
            gone = min(self._left, len(self._buffer))
            del self._buffer[:gone]
            self._left -= gone
            return bool(self._buffer)
        return self._read_chunk_size()

    def _read_chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_CHUNK_LINE:
                raise BadResponse("a chunk of the answer has no length")
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._in_trailer:
            self.complete = not line
            return not self.complete
        size = _length(line.partition(b";")[0].decode("latin-1"), 16)
        if size == 0:
            self._in_trailer = True
        else:
            self._left = size + 2
        return bool(self._buffer)


def _status(line: str) -> int:
    parts = line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
        raise BadResponse("the answer is no HTTP/1.1")
    return int(parts[1])


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, separator, value = line.partition(":")
        if not separator:
            raise BadResponse("a header of the answer has no colon")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers


def _length(text: str, base: int) -> int:
    try:
        length = int(text.strip(), base)
    except ValueError:
        raise BadResponse("a length in the answer is no number") from None
    if length < 0:
        raise BadResponse("a length in the answer is negative")
    return length


__all__ = ["MAX_HEAD", "BadResponse", "Head", "ResponseParser"]
