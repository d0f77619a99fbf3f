"""A pool of connections to one server."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from python_bridge.engine.lms.http.connection import Connection
from python_bridge.engine.lms.http.parser import BadResponse

_CONNECT_TIMEOUT = 10.0


class HttpClient:
    """Sends requests to one server and keeps its connections.

    Args:
        url: base URL, `http` or `https`; its path comes before that of each request.
        max_connections: requests under way at a time; further ones wait.
    """

    def __init__(self, url: str, max_connections: int = 1024) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL")
        self._host = parts.hostname
        self._tls = _context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: list[Connection] = []

    def head(self, path: str, headers: dict[str, str]) -> bytes:
        """Return the constant part of a POST request, up to the value of its content length.

        Raises:
            ValueError: a header holds a line end.
        """
        lines = [f"POST {self._path}{path} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header holds a line end; look at the API key's environment variable")
        return "\r\n".join([*lines, "content-length: "]).encode("latin-1")

    @asynccontextmanager
    async def post(self, head: bytes, body: bytes) -> AsyncIterator[Connection]:
        """Send a request; the response is read from the connection inside the block.

        A connection that was kept and turns out to be closed is replaced once, before any byte of an answer came.
        Leaving the block early, by an error or a cancel, closes the connection at once.

        Raises:
            OSError: no connection, or it broke.
        """
        request = b"%b%d\r\n\r\n%b" % (head, len(body), body)
        async with self._slots:
            connection = await self._begin(request)
            try:
                yield connection
            finally:
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    connection.abort()

    async def _begin(self, request: bytes) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            try:
                return await self._exchange(connection, request)
            except (OSError, BadResponse):
                connection.abort()
                if not connection.untouched:
                    raise
        connection = await self._connect()
        return await self._exchange(connection, request)

    async def _exchange(self, connection: Connection, request: bytes) -> Connection:
        try:
            connection.send(request)
            await connection.head()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        return connection

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().abort()


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
    if not context.get_ca_certs() and "SSL_CERT_FILE" not in os.environ:
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


__all__ = ["HttpClient"]
