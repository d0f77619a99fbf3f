"""What stands before every request: its id, the token, the rate, the size of the body."""

import asyncio
import hashlib
import hmac
import random
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from python_bridge.errors import BridgeError
from python_bridge.transports.http.problems import problem, stopped
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.transports.http.shared import Buckets

OPEN = frozenset({"/", "/healthz", "/readyz", "/api/v1/dspy/health", "/openapi.json", "/docs", "/favicon.ico"})
"""Paths that need no token."""

_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}")
_LOOPBACK = re.compile(r"(localhost|[a-z0-9.-]+\.localhost|127(\.[0-9]{1,3}){3}|\[::1\])\.?(:[0-9]{1,5})?")
_STRANGE_HOST = (
    "without a token the API answers to loopback names only, so that no web page can reach it under a name of its own; "
    "set SECRET_KEY or API_TOKEN_HASHES"
)


class Guard:
    """ASGI middleware.

    Args:
        settings: tokens, largest body.
        buckets: hold the rate of each client.
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings, buckets: Buckets) -> None:
        self._app = app
        self._hashes = [bytes.fromhex(value) for value in settings.token_hashes]
        self._buckets = buckets
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        request_id = _request_id(headers)
        given = request_id if headers.get(b"x-request-id") == request_id.encode() else None
        scope.setdefault("state", {}).update(request_id=request_id, given_request_id=given)
        answer = _Naming(send, request_id)
        if (error := self._refusal(scope, headers)) is not None:
            status = {"overloaded": 429, "invalid_request": 421}.get(error.kind)
            await problem(error, request_id, status)(scope, receive, answer)
            return
        try:
            await self._app(scope, _bounded(receive, self._settings), answer)
        except asyncio.CancelledError:  # only the end of the server does this, when it waits no longer
            if not answer.started:
                await problem(stopped(), request_id)(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> BridgeError | None:
        if not self._hashes and not _is_loopback(headers.get(b"host", b"")):
            return BridgeError("invalid_request", _STRANGE_HOST)
        if scope["path"] not in OPEN and self._hashes and (error := self._unknown(headers)) is not None:
            return error
        address = str((scope.get("client") or ("",))[0]).encode()
        client = headers.get(b"authorization", b"").partition(b" ")[2].strip() if self._hashes else address
        if scope["path"] not in OPEN and (wait := self._buckets.take(client)) > 0:
            return BridgeError("overloaded", f"too many requests; wait {wait:.2f} s", retry_after=wait)
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._settings.max_body_bytes:
            return _too_large(self._settings.max_body_bytes)
        return None

    def _unknown(self, headers: dict[bytes, bytes]) -> BridgeError | None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = hashlib.sha256(token.strip()).digest()
        # All are compared, so that the time does not tell which one was near.
        known = [hmac.compare_digest(given, accepted) for accepted in self._hashes]
        if scheme.lower() == b"bearer" and any(known):
            return None
        return BridgeError("unauthorized", "the bearer token is missing or wrong; send Authorization: Bearer <token>")


def _is_loopback(host: bytes) -> bool:
    """Whether a Host header names this machine; requests without one are no browser's."""
    return not host or _LOOPBACK.fullmatch(host.decode("latin-1").lower()) is not None


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _ID.fullmatch(given) else f"{random.getrandbits(64):016x}"  # a name, no secret


class _Naming:
    """A `send` that names the request in the head of its answer."""

    __slots__ = ("_request_id", "_send", "started")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id.encode()
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", self._request_id)]}
        await self._send(message)


def _bounded(receive: Receive, settings: HttpSettings) -> Receive:
    """Bodies without a length are counted as they come, and none may come for ever."""
    size, whole = 0, False
    until = asyncio.get_running_loop().time() + settings.body_timeout

    async def read() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            text = f"the body did not come within {settings.body_timeout:g} s (body_timeout)"
            raise BridgeError("timeout", text) from None
        size += len(message.get("body", b""))
        if size > settings.max_body_bytes:
            raise _too_large(settings.max_body_bytes)
        whole = not message.get("more_body", False)
        return message

    return read


def _too_large(limit: int) -> BridgeError:
    return BridgeError("limit_exceeded", f"the body has more than {limit} bytes (max_body_bytes)")


__all__ = ["OPEN", "Guard"]
