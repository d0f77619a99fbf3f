"""One request as values, and what comes back for it."""

import asyncio
from typing import Any

from python_bridge.errors import BridgeError


class Exchange:
    """One request and what comes back.

    Attributes:
        answer: the result, or a `BridgeError`.
        events: ``(seq, event)`` of a stream, then ``None``.
    """

    __slots__ = ("answer", "events", "id")

    def __init__(self, loop: asyncio.AbstractEventLoop, request_id: int) -> None:
        self.id = request_id
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.events: asyncio.Queue[tuple[int, dict[str, Any]] | None] = asyncio.Queue()

    def finish(self, result: Any, error: BridgeError | None) -> None:
        """Give the answer, unless nobody waits for it any more."""
        self.events.put_nowait(None)
        if self.answer.done():
            return
        if error is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(error)
            self.answer.exception()  # a stream may have ended before it looks


__all__ = ["Exchange"]
