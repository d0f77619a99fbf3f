"""The messages of `Connect` as an asyncio transport: adds and takes away the length that byte streams need."""

import asyncio
from collections import deque
from typing import Any

from python_bridge._proto import bridge_pb2 as pb
from python_bridge.wire.frames import HEADER


class FrameTransport(asyncio.Transport):
    """Joins an asyncio protocol, whose frames have lengths, with a stream of `Frame` messages.

    The owner runs `pump_in` and `pump_out` until both are done, then tells the protocol that the connection is lost.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._bodies: deque[bytes] = deque()
        self._unsent = 0
        self._high = 64 * 1024
        self._rest = b""
        self._closing = False
        self._paused_writer = False
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()

    # -- the stream's side ------------------------------------------------------------------------------------

    async def pump_in(self, messages: Any) -> None:
        """Give what comes to the protocol, until the other side sends no more."""
        async for frame in messages:
            self._protocol.data_received(HEADER.pack(len(frame.body)) + frame.body)
            await self._reading.wait()
            if self._closing:
                return
        self._protocol.eof_received()
        self.close()

    async def pump_out(self, send: Any) -> None:
        """Send what the protocol writes, until the transport is closed and nothing is left."""
        while not (self._closing and not self._bodies):
            self._wake.clear()
            while self._bodies:
                body = self._bodies.popleft()
                await send(pb.Frame(body=body))
                self._unsent -= len(body)
                self._let_write()
            if not self._closing:
                await self._wake.wait()

    def _let_write(self) -> None:
        if self._paused_writer and self._unsent <= self._high // 2:
            self._paused_writer = False
            self._protocol.resume_writing()

    # -- asyncio.Transport ------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._closing:
            return
        data = self._rest + bytes(data) if self._rest else bytes(data)
        start = 0
        while len(data) - start >= HEADER.size:
            (size,) = HEADER.unpack_from(data, start)
            end = start + HEADER.size + size
            if end > len(data):
                break
            self._bodies.append(data[start + HEADER.size : end])
            self._unsent += size
            start = end
        self._rest = data[start:]
        self._wake.set()
        if self._unsent > self._high and not self._paused_writer:
            self._paused_writer = True
            self._protocol.pause_writing()

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._reading.set()

    def abort(self) -> None:
        self._bodies.clear()
        self.close()


__all__ = ["FrameTransport"]
