"""Who may call: a token in the metadata, and TLS."""

import hmac
from pathlib import Path
from typing import Any

import grpc

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings, SettingsError
from python_bridge.transports.grpc.statuses import abort

_OPEN = "/grpc.health.v1.Health/"
"""Probes of health bear no token; they learn nothing but whether work is taken."""
_SCHEME = "Bearer "


class TokenCheck(grpc.aio.ServerInterceptor):
    """Lets calls pass that have ``authorization: Bearer <token>`` in their metadata."""

    def __init__(self, token: str) -> None:
        self._wanted = (_SCHEME + token).encode()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(_OPEN):
            return handler
        given = dict(handler_call_details.invocation_metadata).get("authorization", "")
        if hmac.compare_digest(self._wanted, str(given).encode()):
            return handler
        return _refusing(handler)


async def _refuse(request: Any, context: Any) -> Any:
    text = "the token is missing or wrong; send it as metadata: authorization = Bearer <token>"
    await abort(context, BridgeError("unauthorized", text))


def _refusing(handler: Any) -> Any:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[handler.request_streaming, handler.response_streaming]
    return make(_refuse, handler.request_deserializer, handler.response_serializer)


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


__all__ = ["TokenCheck", "credentials"]
