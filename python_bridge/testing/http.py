"""Just enough of HTTP/1.1 for a server that misbehaves on purpose."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_MAX_HEAD = 64 * 1024
_MAX_BODY = 64 * 1024 * 1024


class BadRequest(Exception):
    """The bytes are no request that this server reads."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request; header names are in lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            BadRequest: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from error


async def read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """Read the next request of a connection; ``None`` at its end.

    Raises:
        BadRequest: the bytes are no request, or too large.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise BadRequest("the connection ended within a request") from error
        return None
    except (asyncio.LimitOverrunError, ConnectionError) as error:
        raise BadRequest(f"the head of the request cannot be read: {error}") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or len(head) > _MAX_HEAD:
        raise BadRequest("the first line is not METHOD PATH VERSION, or the head is too long")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    url = urlsplit(parts[1])
    return HttpRequest(parts[0], url.path, dict(parse_qsl(url.query)), headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await _chunks(reader)
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= _MAX_BODY:
            raise BadRequest(f"a body of {length} bytes is not taken")
        return await reader.readexactly(length)
    except (ValueError, asyncio.IncompleteReadError, ConnectionError) as error:
        raise BadRequest(f"the body cannot be read: {error}") from error


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if len(body) > _MAX_BODY:
            raise BadRequest("the body is too large")
    while (await reader.readline()).strip():
        pass
    return bytes(body)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and headers of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Scripted"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_response(status: int, value: Any, headers: Mapping[str, str] | None = None) -> tuple[bytes, bytes]:
    """Return head and body of a JSON response."""
    body = json.dumps(value, ensure_ascii=False).encode()
    sizes = {"content-type": "application/json", "content-length": str(len(body))}
    return head(status, {**sizes, **(headers or {})}), body


def chunk(data: bytes) -> bytes:
    """Return one chunk of a body with `transfer-encoding: chunked`; an empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


__all__ = ["BadRequest", "HttpRequest", "chunk", "head", "json_response", "read_request"]
