"""A server that shares its listening socket with other processes, and lets the one with fewest connections take next.

Without that one process may take all that wait, and clients keep their connections.
"""

import asyncio
import contextlib
import socket
from typing import Any

import uvicorn

from python_bridge.transports.http.shared import Board

_FOR_OTHERS_S = 0.002
_OUT_OF_FILES_S = 0.1


class SharingServer(uvicorn.Server):
    """One of the processes behind a port.

    Args:
        slot: which one.
    """

    def __init__(self, config: uvicorn.Config, board: Board, slot: int) -> None:
        super().__init__(config)
        self._board = board
        self._slot = slot
        self._sockets: list[socket.socket] = []
        self._waited = False
        self._opening: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and take connections."""
        await super().startup(sockets=[])
        self._sockets = sockets or []
        self._board.begin(self._slot)
        for listener in self._sockets:
            listener.setblocking(False)
            self._listen(listener)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end when what runs is done."""
        self._board.leave(self._slot)
        for listener in self._sockets:
            asyncio.get_running_loop().remove_reader(listener)
        self._sockets = []
        if self._opening:  # those that are not open yet would not be told
            await asyncio.wait(self._opening)
        await super().shutdown(sockets)

    def _listen(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            asyncio.get_running_loop().add_reader(listener, self._take, listener)

    def _pause(self, listener: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._listen, listener)

    def _take(self, listener: socket.socket) -> None:
        """Take one connection, unless another process should; it takes none in its time where its loop is held."""
        if not self._waited and self._board.has_more_than_another(self._slot):
            self._waited = True
            self._pause(listener, _FOR_OTHERS_S)
            return
        self._waited = False
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            self._pause(listener, _OUT_OF_FILES_S)
            return
        self._board.add(self._slot, 1)
        opening = asyncio.ensure_future(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:
            self._board.add(self._slot, -1)
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol = made(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        lost = protocol.connection_lost

        def connection_lost(error: Exception | None) -> None:
            self._board.add(self._slot, -1)
            lost(error)

        protocol.connection_lost = connection_lost
        return protocol


__all__ = ["SharingServer"]
