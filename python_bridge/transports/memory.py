"""The in-memory twin of a socket: two protocols joined within one loop, with the same back-pressure."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

from python_bridge.services.dispatch import Dispatcher
from python_bridge.transports.peer import Peer

P = TypeVar("P", bound=asyncio.Protocol)


class MemoryTransport(asyncio.Transport):
    """One end of a pair. What is written is delivered to the other end's protocol in a later turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._other: MemoryTransport | None = None
        self._inbox: list[bytes] = []
        self._inbox_bytes = 0
        self._high = 64 * 1024
        self._paused_reading = False
        self._paused_writer = False
        self._eof = False
        self._closing = False

    def join(self, other: "MemoryTransport") -> None:
        """Connect this end with `other`, in this direction."""
        self._other = other

    def write(self, data: Any) -> None:
        other = self._other
        if other is None or self._closing or not data:
            return
        other._inbox.append(bytes(data))
        other._inbox_bytes += len(data)
        self._loop.call_soon(other._deliver)
        if other._inbox_bytes > self._high and not other._paused_writer:
            other._paused_writer = True
            self._protocol.pause_writing()

    def _deliver(self) -> None:
        if self._paused_reading:
            return
        if self._inbox and not self._closing:
            data = b"".join(self._inbox)
            self._inbox.clear()
            self._inbox_bytes = 0
            self._protocol.data_received(data)
        if self._paused_writer and not self._inbox and self._other is not None:
            self._paused_writer = False
            self._other._protocol.resume_writing()
        if self._eof and not self._inbox:
            self._eof = False
            self._protocol.eof_received()
            self.close()

    def pause_reading(self) -> None:
        self._paused_reading = True

    def resume_reading(self) -> None:
        self._paused_reading = False
        self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self._other is not None:
            self._other._eof = True
            self._loop.call_soon(self._other._deliver)
        self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


def join_memory(loop: asyncio.AbstractEventLoop, one: asyncio.Protocol, other: asyncio.Protocol) -> None:
    """Connect two protocols as if by a socket."""
    left, right = MemoryTransport(loop, one), MemoryTransport(loop, other)
    left.join(right)
    right.join(left)
    one.connection_made(left)
    other.connection_made(right)


def connect_memory(dispatcher: Dispatcher, client: Callable[[], P]) -> P:
    """Serve a new client, an asyncio protocol, within this loop; return it connected."""
    protocol = client()
    join_memory(dispatcher.loop, cast("asyncio.Protocol", protocol), Peer(dispatcher))
    return protocol


__all__ = ["MemoryTransport", "connect_memory", "join_memory"]
