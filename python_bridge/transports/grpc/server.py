"""One grpc.aio server over a dispatcher: the bridge, health and reflection."""

import asyncio
import contextlib
import ipaddress
import os
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from python_bridge._proto import bridge_pb2
from python_bridge._proto.bridge_pb2_grpc import add_BridgeServicer_to_server
from python_bridge.services.dispatch import Dispatcher
from python_bridge.settings import Settings, SettingsError
from python_bridge.transports.direct import Direct
from python_bridge.transports.grpc.access import Gate, Gated, TokenCheck, credentials
from python_bridge.transports.grpc.bridge import Bridge
from python_bridge.transports.sockets import occupant, remove_dead

SERVICE = bridge_pb2.DESCRIPTOR.services_by_name["Bridge"].full_name
HEADROOM_BYTES = 1024 * 1024
"""What gRPC takes above the cap of a frame, so that this project's own error tells of it and the stream lives on."""
_STOP_S = 0.5
_KEEPALIVE_TIMEOUT_MS = 10_000
_MIN_PING_MS = 5_000


class GrpcServer:
    """Serves a dispatcher's operations at `settings.listen`, ``grpc:…``."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        settings = dispatcher.settings
        self._loop = dispatcher.loop
        self._settings = settings
        self._path: str | None = None  # of the socket that is this server's own
        self._tasks: set[asyncio.Task[None]] = set()
        self._health: Any = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
        self._direct = Direct(dispatcher, self._tell_health)
        gate = Gate(settings.token)
        interceptors = [TokenCheck(gate)] if settings.grpc_reflection else []
        self._server = grpc.aio.server(interceptors=interceptors, options=options(settings))
        gated: Any = Gated(gate)
        add_BridgeServicer_to_server(Bridge(dispatcher, self._direct), gated)
        self._server.add_generic_rpc_handlers((gated,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if settings.grpc_reflection:
            from grpc_reflection.v1alpha import reflection

            names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self) -> str:
        """Begin to serve; return the address as `settings.listen` would have it.

        Raises:
            SettingsError: the address cannot be used.
        """
        address = self._bind()
        await self._set_health(False)
        await self._server.start()
        return address

    def _bind(self) -> str:
        target = self._settings.listen.removeprefix("grpc:")
        chosen = credentials(self._settings)
        if target.startswith("unix:"):
            self._add_unix(target, chosen)
            return f"grpc:{target}"
        host = _checked_host(target, self._settings)
        port = self._add(target, chosen)
        return f"grpc:{host}:{port}"

    def _add_unix(self, target: str, chosen: grpc.ServerCredentials | None) -> None:
        path = target.removeprefix("unix:")
        remove_dead(path)
        if (reason := occupant(path)) is not None:
            raise SettingsError(f"listen: cannot listen on {path}: {reason}")
        if os.path.exists(path):  # gRPC would take the place of whoever serves there
            raise SettingsError(f"listen: {path} is there already; remove it, or listen elsewhere")
        mask = os.umask(0o177)
        try:
            self._add(target, chosen)
        finally:
            os.umask(mask)
        self._path = path

    def _add(self, target: str, chosen: grpc.ServerCredentials | None) -> int:
        try:
            if chosen is None:
                return self._server.add_insecure_port(target)
            return self._server.add_secure_port(target, chosen)
        except RuntimeError as error:
            raise SettingsError(f"listen: cannot listen on grpc:{target}: {error}") from None

    def _tell_health(self, serving: bool) -> None:
        task = self._loop.create_task(self._set_health(serving))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _set_health(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        """End: what is answered already may still go out."""
        await self._set_health(False)
        await self._server.stop(_STOP_S)
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def options(settings: Settings) -> list[tuple[str, Any]]:
    """Return the options of the server's channels."""
    return [
        ("grpc.max_receive_message_length", settings.max_frame_bytes + HEADROOM_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_ms),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_MS),
    ]


def _checked_host(target: str, settings: Settings) -> str:
    """Return the host of ``host:port``; one that others can reach needs TLS.

    Raises:
        SettingsError: it is no such address, or may not be served like this.
    """
    host, _, port = target.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"listen: {target!r} is no address; write grpc:127.0.0.1:50051 or grpc:unix:/path")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback and settings.grpc_tls_cert is None:
        raise SettingsError(f"listen: {host!r} is no loopback address; it needs TLS (grpc_tls_cert, grpc_tls_key)")
    if not settings.token and settings.grpc_tls_client_ca is None:
        raise SettingsError("listen: gRPC over TCP needs a token (DSPEX_TOKEN) or clients' certificates")
    return host


async def serve_grpc(dispatcher: Dispatcher) -> tuple[str, "asyncio.Future[None]"]:
    """Serve until the dispatcher has ended; return the address, and what is done when the server has stopped.

    Raises:
        SettingsError: the address cannot be used.
    """
    server = GrpcServer(dispatcher)
    address = await server.start()

    async def until_ended() -> None:
        await asyncio.shield(dispatcher.ended)
        await server.stop()

    return address, asyncio.ensure_future(until_ended())


__all__ = ["HEADROOM_BYTES", "SERVICE", "GrpcServer", "options", "serve_grpc"]
