"""Writes of one turn of the loop as one: the head of an answer and its body are two, and each would be a packet."""

import asyncio
from typing import Any


class CorkedTransport:
    """A transport whose writes go out together when the loop comes round.

    All else is the transport's own.
    """

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep `data` for the next turn of the loop."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def flush(self) -> None:
        """Write what was kept."""
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

    def close(self) -> None:
        """Write what was kept, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def corked(base: Any) -> Any:
    """Return a class of uvicorn's protocols whose connections are corked."""

    class Corked(base):
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(CorkedTransport(transport, asyncio.get_running_loop()))

    return Corked


__all__ = ["CorkedTransport", "corked"]
