"""One request to the server and what became of it; and how its answer is sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_bridge.testing import http
from python_bridge.testing.gate import Gate
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_completion import Completion, complete, sse
from python_bridge.testing.openai_embeddings import embeddings


@dataclass(slots=True)
class Exchange:
    """A recorded request.

    Attributes:
        headers: lower-case names; keys and cookies are redacted.
        at: `time.monotonic()` of its arrival.
        disconnected: opened when the client went away before its answer was complete.
        finished: opened when nothing more is sent, whatever the reason.
        released: lets go on what stalls.
        pieces: how many pieces of a stream were sent.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    behaviour: Behaviour
    at: float = field(default_factory=time.monotonic)
    disconnected: Gate = field(default_factory=Gate)
    finished: Gate = field(default_factory=Gate)
    released: Gate = field(default_factory=Gate)
    pieces: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what the control endpoint tells; times in seconds after the request's arrival."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": self.body,
            "pieces": self.pieces,
            "disconnected_after": self._after(self.disconnected),
            "finished_after": self._after(self.finished),
        }

    def _after(self, gate: Gate) -> float | None:
        return None if gate.opened_at is None else gate.opened_at - self.at


class Cut(Exception):
    """The script says to cut the connection here."""


class Responder:
    """Sends one answer over a connection."""

    def __init__(self, exchange: Exchange, writer: asyncio.StreamWriter) -> None:
        self._exchange, self._behaviour, self._writer = exchange, exchange.behaviour, writer

    async def respond(self) -> None:
        """Do what the behaviour says.

        Raises:
            Cut: the connection is to be aborted.
            http.BadRequest: the body is not one of chat completions.
        """
        behaviour, body = self._behaviour, self._exchange.body
        if behaviour.stall:
            await self._exchange.released.passed(None)
        if behaviour.disconnect:
            raise Cut
        if behaviour.status > 299:
            await self._whole(behaviour.status, behaviour.error_body())
            return
        if self._exchange.path.endswith("/embeddings"):
            await self._whole(behaviour.status, embeddings(body, behaviour))
            return
        completion = complete(body, behaviour)
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            await self._stream(completion, usage)
        else:
            await self._whole(behaviour.status, completion.whole())

    def _headers(self) -> dict[str, str]:
        headers = {"x-request-id": f"req_{self._exchange.number}", **(self._behaviour.headers or {})}
        if self._behaviour.retry_after is not None:
            headers["retry-after"] = f"{self._behaviour.retry_after:g}"
        return headers

    async def _whole(self, status: int, value: Any) -> None:
        head, body = http.json_response(status, value, self._headers())
        if self._behaviour.truncate is not None:
            await self._send(head + body[: self._behaviour.truncate])
            raise Cut
        await self._send(head + body)

    async def _stream(self, completion: Completion, usage: bool) -> None:
        kind = {"content-type": "text/event-stream", "cache-control": "no-cache", "transfer-encoding": "chunked"}
        await self._send(http.head(200, {**kind, **self._headers()}))
        await self._send(http.chunk(sse(completion.start())))
        async for event in self._pieces(completion):
            await self._send(http.chunk(sse(event)))
            self._exchange.pieces += 1
        for event in completion.end(usage):
            await self._send(http.chunk(sse(event)))
        await self._send(http.chunk(sse("[DONE]")) + http.chunk(b""))

    async def _pieces(self, completion: Completion) -> AsyncIterator[dict[str, Any]]:
        """Yield the chunks of the answer, with the stalls and cuts of the script between them."""
        behaviour = self._behaviour
        while True:
            for event in completion.deltas():
                if self._exchange.pieces == behaviour.stall_after:
                    await self._exchange.released.passed(None)
                if self._exchange.pieces == behaviour.cut_after:
                    await self._cut(event)
                await asyncio.sleep(behaviour.pace)
                yield event
            if not behaviour.endless:
                return

    async def _cut(self, event: dict[str, Any]) -> None:
        if self._behaviour.half_event:
            data = sse(event)
            await self._send(http.chunk(data[: len(data) // 2]))
        raise Cut

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class WatchedReader(asyncio.StreamReader):
    """A reader that tells when the client has gone, without reading ahead."""

    def __init__(self, *, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.ended = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.ended.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.ended.set()


async def respond(exchange: Exchange, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
    """Send the answer of an exchange, unless the client goes away first: that stops it.

    Raises:
        Cut: the connection is to be aborted.
        http.BadRequest: the body is not one of chat completions.
    """
    work = asyncio.create_task(Responder(exchange, writer).respond())
    ended = asyncio.create_task(reader.ended.wait())
    try:
        await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            exchange.disconnected.open()
            raise Cut
        await work
    except ConnectionError as error:
        exchange.disconnected.open()
        raise Cut from error
    finally:
        for task in (work, ended):
            task.cancel()
        await asyncio.gather(work, ended, return_exceptions=True)
        exchange.finished.open()


def redacted(headers: dict[str, str]) -> dict[str, str]:
    """Return headers without what opens doors."""
    secret = {"authorization", "api-key", "x-api-key", "cookie"}
    return {name: "[redacted]" if name in secret else value for name, value in headers.items()}


def parsed(body: bytes) -> Any:
    """Return a body as JSON, or as text if it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


__all__ = ["Cut", "Exchange", "WatchedReader", "parsed", "redacted", "respond"]
