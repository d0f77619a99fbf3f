"""One connection: requests one after the other, the response as it comes."""

import asyncio
from collections.abc import AsyncGenerator

from python_bridge.engine.lms.http.parser import BadResponse, Head, ResponseParser

_PAUSE_AT = 256 * 1024


class Connection(asyncio.Protocol):
    """A connection that the pool owns between exchanges, and one exchange during it.

    It stops reading from the socket while a quarter of a megabyte waits to be taken.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._waiting = 0
        self._paused = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has connected."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            self._parser.feed(data)
        except BadResponse as error:
            self._error = error
        self._waiting += len(data)
        if self._waiting > _PAUSE_AT and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self.closed = True
        if self._error is None and not self._parser.complete:
            try:
                self._parser.finish()
            except BadResponse as error:
                self._error = exc or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def untouched(self) -> bool:
        """Whether no byte of a response has come: the request may be sent again on another connection."""
        return not self._parser.started

    @property
    def reusable(self) -> bool:
        """Whether the last response was read to its end and the other side keeps the connection."""
        return not self.closed and self._error is None and self._parser.complete and self._parser.keep_alive

    def send(self, request: bytes) -> None:
        """Begin an exchange."""
        self._parser = ResponseParser()
        self._error = None
        self._waiting = 0
        if self._transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        self._transport.write(request)

    async def head(self) -> Head:
        """Return the head of the response, when it has come.

        Raises:
            OSError, BadResponse: the connection broke, or the bytes are no HTTP.
        """
        while self._parser.head is None:
            await self._more()
        return self._parser.head

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Give the body in the pieces in which it comes."""
        while True:
            if part := self._take():
                yield part  # more may come, and the end too, while the reader is busy with this part
            elif self._parser.complete:
                return
            else:
                await self._more()

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            BadResponse: it is larger than `limit` bytes.
        """
        parts, size = [], 0
        while True:
            part = self._take()
            size += len(part)
            if size > limit:
                raise BadResponse(f"the answer is larger than {limit} bytes")
            parts.append(part)
            if self._parser.complete:
                return b"".join(parts)
            await self._more()

    def _take(self) -> bytes:
        part = self._parser.take()
        self._waiting = 0
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return part

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        if self.closed:
            raise ConnectionResetError("the connection was closed")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def abort(self) -> None:
        """Close at once; the other side sees it at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


__all__ = ["Connection"]
