"""Standard input and output as a connection. The wire gets private descriptors; stray prints go to stderr."""

import asyncio
import contextlib
import fcntl
import os
import sys
from dataclasses import dataclass
from typing import Any, cast

from python_bridge.services.dispatch import Dispatcher
from python_bridge.transports.peer import Peer

_PIPE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Wire:
    """The descriptors that carry frames: `read_fd` and `write_fd`, not inherited by child processes."""

    read_fd: int
    write_fd: int


def claim_stdio() -> Wire:
    """Move descriptors 0 and 1 to private duplicates.

    Afterwards reading standard input finds its end, and whatever is printed, by Python, C libraries or child
    processes, goes to standard error and cannot tear a frame.
    """
    sys.stdout.flush()
    wire = Wire(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    for fd in (wire.read_fd, wire.write_fd):
        with contextlib.suppress(OSError):  # no pipe, or above the user's limit
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return wire


class _Output(asyncio.BaseProtocol):
    """Passes what happens to the writing half on to the peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def pause_writing(self) -> None:
        self._peer.pause_writing()

    def resume_writing(self) -> None:
        self._peer.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer.connection_lost(exc)


class _Input(asyncio.Protocol):
    """Passes what is read on to the peer, which gets both halves as one transport."""

    def __init__(self, peer: Peer, writer: asyncio.WriteTransport) -> None:
        self.data_received = peer.data_received
        self._peer = peer
        self._writer = writer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._peer.connection_made(PipeTransport(cast("asyncio.ReadTransport", transport), self._writer))

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer.eof_received()
        self._peer.connection_lost(exc)


class PipeTransport(asyncio.Transport):
    """The two halves of a pair of pipes as one transport."""

    def __init__(self, reader: asyncio.ReadTransport, writer: asyncio.WriteTransport) -> None:
        super().__init__()
        self._reader = reader
        self._writer = writer
        self.write = writer.write

    def pause_reading(self) -> None:
        self._reader.pause_reading()

    def resume_reading(self) -> None:
        self._reader.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._writer.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        return self._writer.is_closing()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def abort(self) -> None:
        self._reader.close()
        self._writer.abort()


async def serve_pipes(dispatcher: Dispatcher, wire: Wire) -> Peer:
    """Serve the client at the other end of `wire`; return its peer, whose `closed` tells the end."""
    loop = dispatcher.loop
    peer = Peer(dispatcher)
    writer: Any
    writer, _ = await loop.connect_write_pipe(lambda: _Output(peer), os.fdopen(wire.write_fd, "wb", 0))
    await loop.connect_read_pipe(lambda: _Input(peer, writer), os.fdopen(wire.read_fd, "rb", 0))
    return peer


__all__ = ["PipeTransport", "Wire", "claim_stdio", "serve_pipes"]
