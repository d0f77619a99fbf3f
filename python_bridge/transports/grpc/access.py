"""Who may call: a token in the metadata, and TLS."""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings, SettingsError
from python_bridge.transports.grpc.statuses import abort

_OPEN = "/grpc.health.v1.Health/"
"""Probes of health bear no token; they learn nothing but whether work is taken."""
_SCHEME = "Bearer "


class Gate:
    """Lets calls pass that have ``authorization: Bearer <token>`` in their metadata; all, when there is no token."""

    def __init__(self, token: str | None) -> None:
        self._wanted = (_SCHEME + token).encode() if token else None

    def check(self, metadata: Any) -> None:
        """Look at the metadata of a call: pairs, or nothing.

        Raises:
            BridgeError: `unauthorized`.
        """
        if self._wanted is None:
            return
        given = next((value for key, value in metadata or () if key == "authorization"), "")
        if not hmac.compare_digest(self._wanted, str(given).encode()):
            text = "the token is missing or wrong; send it as metadata: authorization = Bearer <token>"
            raise BridgeError("unauthorized", text)

    def behind(self, handler: Any, details: Any) -> Any:
        """Return the handler of a call, or one that refuses it before gRPC has taken a message of the caller's."""
        try:
            self.check(details.invocation_metadata)
        except BridgeError as error:
            return _refusal(error)
        return handler


class Gated(grpc.GenericRpcHandler):
    """A service behind the gate, in the place of a server: ``add_…Servicer_to_server(servicer, gated)``."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Take nothing: the methods by name are the same."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take the methods of a service."""
        self._handlers.update({f"/{service}/{method}": handler for method, handler in handlers.items()})

    def service(self, handler_call_details: Any) -> Any:
        handler = self._handlers.get(handler_call_details.method)
        return None if handler is None else self._gate.behind(handler, handler_call_details)


def _refusal(error: BridgeError) -> Any:
    """Return a handler for calls of any kind that reads nothing: a stream's messages come when they are asked for."""

    async def refuse(requests: Any, context: Any) -> Any:
        await abort(context, error)

    return grpc.stream_stream_rpc_method_handler(refuse)


class TokenCheck(grpc.aio.ServerInterceptor):
    """The gate before services that are not ours. An interceptor costs a call 20 us: ours are `Gated`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN):
            return handler
        return self._gate.behind(handler, handler_call_details)


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the server's credentials, ``None`` without TLS.

    Raises:
        SettingsError: a file is missing, or one setting needs another.
    """
    if settings.grpc_tls_cert is None:
        if settings.grpc_tls_key or settings.grpc_tls_client_ca:
            raise SettingsError("grpc_tls_key and grpc_tls_client_ca need grpc_tls_cert: the server's certificate")
        return None
    if settings.grpc_tls_key is None:
        raise SettingsError("grpc_tls_cert needs grpc_tls_key: the key of the certificate")
    pair = (_read("grpc_tls_key", settings.grpc_tls_key), _read("grpc_tls_cert", settings.grpc_tls_cert))
    if settings.grpc_tls_client_ca is None:
        return grpc.ssl_server_credentials([pair])
    authority = _read("grpc_tls_client_ca", settings.grpc_tls_client_ca)
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=True)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: the file {path} cannot be read: {error.strerror}") from None


__all__ = ["Gate", "Gated", "TokenCheck", "credentials"]
