"""Unix sockets, and TCP on loopback with a token: any number of clients of one worker."""

import asyncio
import contextlib
import ipaddress
import os
import socket
import stat

from python_bridge.errors import BridgeError
from python_bridge.protocol.connection import State
from python_bridge.services.dispatch import Dispatcher
from python_bridge.settings import Settings, SettingsError
from python_bridge.transports.peer import Peer
from python_bridge.transports.reception import GREETING_BYTES, Reception

_BACKLOG = 128
_LINGER_S = 1.0


def bind(settings: Settings) -> socket.socket:
    """Return a listening socket for `settings.listen`: ``unix:/path`` or ``tcp:host:port``.

    A Unix socket is open to its owner alone (mode 0600); a file that a dead worker left behind is replaced.

    Raises:
        SettingsError: the address cannot be used, is no loopback address, or TCP lacks a token.
    """
    kind, _, address = settings.listen.partition(":")
    try:
        listener = bind_unix(address) if kind == "unix" else _bind_tcp(address, settings.token)
    except OSError as error:
        reason = (occupant(address) if kind == "unix" else None) or error.strerror or error
        raise SettingsError(f"listen: cannot listen on {settings.listen}: {reason}") from None
    listener.setblocking(False)
    return listener


def bind_unix(path: str) -> socket.socket:
    """Return a listening Unix socket of mode 0600."""
    remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def remove_dead(path: str) -> None:
    """Remove a socket that nobody listens on; anything else is left for `bind` to complain about."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def occupant(path: str) -> str | None:
    """Return what stands where a socket should be, and what to do; ``None`` for sockets, and when nothing is there."""
    if os.path.islink(path) and not os.path.exists(path):
        return "there is a link to nothing; remove it, or listen elsewhere"
    if os.path.isdir(path):
        return "that is a directory; name a file in it that is not there yet"
    if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
        return "there is a file that is no socket; remove it, or listen elsewhere"
    return None


def _bind_tcp(address: str, token: str | None) -> socket.socket:
    if not token:
        raise SettingsError("listen: TCP needs a token that clients send in initialize; set DSPEX_TOKEN")
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if host == "localhost":
        host = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(f"listen: {host!r} is no loopback address; use 127.0.0.1, and a proxy for other machines")
    if not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"listen: {port!r} is no port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)


def address_of(listener: socket.socket) -> str:
    """Return what `settings.listen` would be for this socket."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"


class SocketPeer(Peer):
    """A peer that is turned away when too many are there, and when it does not introduce itself in time."""

    def __init__(self, dispatcher: Dispatcher, reception: Reception) -> None:
        self._full = len(dispatcher.conversations) >= dispatcher.settings.max_connections
        self._reception = reception
        self._timer: asyncio.TimerHandle | None = None
        super().__init__(dispatcher)
        self._connection.limit_greeting(GREETING_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._full:
            text = "the worker has all the connections that it takes (max_connections)"
            self.dismiss(BridgeError("overloaded", text))
        else:
            self._timer = self._reception.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def is_stranger(self) -> bool:
        """Whether no `initialize` of it was accepted, and it is there still."""
        return self._connection.state is State.OPENED

    def dismiss(self, error: BridgeError) -> None:
        """Tell why, and end the connection, also when nobody reads at its other end."""
        self._connection.fail(None, error)
        self.close()
        if self._transport is not None:
            self._timer = self._loop.call_later(_LINGER_S, self._transport.abort)


def reception_of(dispatcher: Dispatcher) -> Reception:
    """Return the reception of a new listening socket."""
    settings = dispatcher.settings
    return Reception(dispatcher.loop, settings.max_handshakes, settings.handshake_ms)


async def serve_socket(dispatcher: Dispatcher, listener: socket.socket) -> asyncio.Server:
    """Serve all clients of a listening socket; closing the server leaves their connections open."""

    reception = reception_of(dispatcher)

    def peer() -> SocketPeer:
        return SocketPeer(dispatcher, reception)

    if listener.family == socket.AF_UNIX:
        return await dispatcher.loop.create_unix_server(peer, sock=listener)
    return await dispatcher.loop.create_server(peer, sock=listener)


__all__ = ["SocketPeer", "address_of", "bind", "bind_unix", "occupant", "reception_of", "remove_dead", "serve_socket"]
