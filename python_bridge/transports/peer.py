"""What all byte-stream transports share: an asyncio protocol between a transport's bytes and a conversation."""

import asyncio
import contextlib
from typing import cast

from python_bridge.protocol.connection import State
from python_bridge.services.dispatch import Dispatcher

HIGH_WATER_BYTES = 1024 * 1024
"""Unsent bytes above which streams wait and nothing more is read."""


class Peer(asyncio.Protocol):
    """Serves one connection, on any asyncio transport.

    Requests are handled as they are read; all answers that one turn of the loop gives leave in one write.

    Attributes:
        closed: done when the connection has ended, for whatever reason.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.closed: asyncio.Future[None] = dispatcher.loop.create_future()
        self._loop = dispatcher.loop
        self._transport: asyncio.Transport | None = None
        self._conversation = dispatcher.open(self)
        self._connection = self._conversation.connection
        self._flushing = False
        self._writable: asyncio.Future[None] | None = None

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # Transports that are no streams of the system, as the twin in memory, have no such limits.
        with contextlib.suppress(NotImplementedError, AttributeError):
            self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        handle = self._conversation.handle
        for event in self._connection.receive(data):
            handle(event)
        self._flush()

    def eof_received(self) -> bool:
        self._conversation.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._conversation.close()
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._set_reading(False)

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
            self._set_reading(True)

    def _set_reading(self, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        with contextlib.suppress(RuntimeError):  # stock asyncio raises when it reads already, or not
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    # -- Outlet -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what is queued, in this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and self._connection.has_output():
            output = self._connection.take_output()
            if not self._transport.is_closing():
                self._transport.write(output)

    def is_writable(self) -> bool:
        """Whether less than `HIGH_WATER_BYTES` wait to be read by the other side."""
        return self._writable is None

    async def writable(self) -> None:
        """Wait until the other side has read enough, or is gone."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        self._flush()
        if self._connection.state is not State.CLOSED:
            self._connection.close()
        if self._transport is not None:
            self._transport.close()


__all__ = ["HIGH_WATER_BYTES", "Peer"]
