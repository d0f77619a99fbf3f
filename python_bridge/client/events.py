"""Server-sent events from bytes, however these are cut."""

import re

from python_bridge.client import answers
from python_bridge.client.results import ExecutionResult, StreamEvent
from python_bridge.errors import BridgeError

_LINE_END = re.compile(rb"\r\n|\n|\r(?!$)")
"""A carriage return at the end may be half of a line's end."""
_MAX_BYTES = 64 * 1024 * 1024


class EventReader:
    """Turns bytes into events. Lines are cut at CR and LF alone: data may hold every other separator.

    Args:
        limit: bytes of one event; longer ones are refused.
    """

    def __init__(self, limit: int = _MAX_BYTES) -> None:
        self._limit = limit
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[StreamEvent | ExecutionResult]:
        """Return the events that are complete now.

        Raises:
            BridgeError: the error that ends the stream; `protocol_error` for data that is none;
                `limit_exceeded` for an event above the limit.
        """
        *lines, self._rest = _LINE_END.split(self._rest + data)
        found = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > self._limit:
            raise BridgeError("limit_exceeded", f"an event of the stream has more than {self._limit} bytes")
        return found

    def _line(self, line: bytes) -> StreamEvent | ExecutionResult | None:
        if not line:
            name, data = self._name, b"\n".join(self._data)
            self._name, self._data, self._size = "", [], 0
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
