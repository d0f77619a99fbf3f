"""Server-sent events from bytes, however these are cut."""

import re

from python_bridge.client import answers
from python_bridge.client.results import ExecutionResult, StreamEvent
from python_bridge.errors import BridgeError

_LINE_END = re.compile(rb"\r\n|\n|\r")
_MAX_BYTES = 64 * 1024 * 1024


class EventReader:
    """Turns bytes into events. Lines are cut at CR and LF alone: data may hold every other separator.

    Args:
        limit: bytes of one event; longer ones are refused.
    """

    def __init__(self, limit: int = _MAX_BYTES) -> None:
        self._limit = limit
        self._begun: list[bytes] = []  # pieces of the line that has no end yet
        self._held = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[StreamEvent | ExecutionResult]:
        """Return the events that are complete now.

        Raises:
            BridgeError: the error that ends the stream; `protocol_error` for data that is none;
                `limit_exceeded` for an event above the limit.
        """
        found = [event for line in self._lines(data) if (event := self._line(line)) is not None]
        if self._size > self._limit:
            raise BridgeError("limit_exceeded", f"an event of the stream has more than {self._limit} bytes")
        return found

    def _lines(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now; a piece is looked at once, however long its line is."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""  # it may be half of a line's end
        first, *others = _LINE_END.split(data[: len(data) - len(self._held)])
        self._begun.append(first)
        self._size += len(first)
        if not others:
            return []
        line = b"".join(self._begun)
        self._size += len(others[-1]) - len(line)
        self._begun = [others[-1]]
        return [line, *others[:-1]]

    def _line(self, line: bytes) -> StreamEvent | ExecutionResult | None:
        if not line:
            name, data = self._name, b"\n".join(self._data)
            self._size -= sum(map(len, self._data))
            self._name, self._data = "", []
            return _event(name, data) if data else None
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
            self._size += len(value)
        return None


def ended_early() -> BridgeError:
    """Return the error of a stream without an end."""
    return BridgeError("unavailable", "the stream ended before its result; the server may have been stopped")


def _event(name: str, data: bytes) -> StreamEvent | ExecutionResult:
    body = answers.parse(data)
    if not isinstance(body, dict):
        raise BridgeError("protocol_error", f"the event {name!r:.80} of the stream is no JSON object")
    if name == "result":
        return ExecutionResult.read(body)
    if name == "error":
        raise answers.read_last(body)
    return StreamEvent(name, body)


__all__ = ["EventReader", "ended_early"]
