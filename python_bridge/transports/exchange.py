"""One request as values, and what comes back for it."""

import asyncio
from typing import Any

from python_bridge.errors import BridgeError


class Exchange:
    """One request and what comes back.

    Attributes:
        answer: the result, or a `BridgeError`.
    """

    __slots__ = ("_events", "answer", "id")

    def __init__(self, loop: asyncio.AbstractEventLoop, request_id: int) -> None:
        self.id = request_id
        self.answer: asyncio.Future[Any] = loop.create_future()
        self._events: asyncio.Queue[tuple[int, dict[str, Any]] | None] | None = None

    @property
    def events(self) -> asyncio.Queue[tuple[int, dict[str, Any]] | None]:
        """``(seq, event)`` of a stream, then ``None``. Most requests are no streams: there is a queue once one asks."""
        if self._events is None:
            self._events = asyncio.Queue()
            if self.answer.done():
                self._events.put_nowait(None)
        return self._events

    def finish(self, result: Any, error: BridgeError | None) -> None:
        """Give the answer, unless nobody waits for it any more."""
        if self._events is not None:
            self._events.put_nowait(None)
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # a stream may have ended before it looks


__all__ = ["Exchange"]
