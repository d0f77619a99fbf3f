"""OpenAI's chat completions API, and every server that speaks it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.lms.answers import Answer
from python_bridge.engine.lms.chat_errors import status_error
from python_bridge.engine.lms.chat_stream import StreamReader
from python_bridge.engine.lms.http.client import HttpClient
from python_bridge.engine.lms.http.connection import Connection
from python_bridge.engine.lms.http.parser import BadResponse
from python_bridge.engine.lms.pricing import price_tokens

MAX_ANSWER = 64 * 1024 * 1024
_READ_TIMEOUT = 600.0
_USED = {"text", "reasoning_content", "tool_calls", "logprobs"}


class ChatWire:
    """See `Wire`.

    Args:
        model: as in `dspy.LM`; what follows its first slash goes to the server.
        url: base URL, with `/v1` where the server has it.
        key: API key; ``None`` sends none.
        timeout: seconds to wait for the next bytes.
    """

    def __init__(self, model: str, url: str, key: str | None, timeout: float | None = None) -> None:
        self._model = model
        self._provider, _, self._wire_model = model.partition("/")
        self._timeout = timeout or _READ_TIMEOUT
        self.url = url
        self._client = HttpClient(url)
        headers = {"content-type": "application/json", "accept": "*/*", "user-agent": "python-bridge"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        self._head = self._client.head("/chat/completions", headers)

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer."""
        async with self._bounded():
            try:
                async with self._client.post(self._head, self._encoded(body)) as connection:
                    content = await self._content(connection)
            except (OSError, BadResponse) as error:
                raise self._broken(error) from None
        try:
            return self._answer(orjson.loads(content))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise lm15.ServerError(
                f"the answer is no chat completion: {content[:200]!r}", provider=self._provider
            ) from error

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str | Answer, None]:
        """Give the text in pieces, and the whole answer last."""
        encoded = self._encoded({**body, "stream": True, "stream_options": {"include_usage": True}})
        reader = StreamReader(self._provider)
        try:
            async with self._client.post(self._head, encoded) as connection:
                await self._check_status(connection)
                async with aclosing(self._parts(connection)) as parts:
                    async for part in parts:
                        if text := reader.feed(part):
                            yield text
        except (OSError, BadResponse) as error:
            raise self._broken(error) from None
        message, usage, model = reader.finish()
        yield self._made(message, usage, model)

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._client.aclose()

    def _encoded(self, body: dict[str, Any]) -> bytes:
        sent = {**body, "model": self._wire_model}
        try:
            return orjson.dumps(sent)
        except TypeError:  # integers beyond 64 bits
            return json.dumps(sent, default=str).encode()

    def _bounded(self) -> Any:
        return _Bounded(self._timeout, self._provider)

    async def _content(self, connection: Connection) -> bytes:
        await self._check_status(connection)
        return await connection.read(MAX_ANSWER)

    async def _check_status(self, connection: Connection) -> None:
        head = await connection.head()
        if not 200 <= head.status < 300:
            content = await connection.read(MAX_ANSWER)
            raise status_error(head.status, head.headers, content, self._provider)

    async def _parts(self, connection: Connection) -> AsyncGenerator[bytes, None]:
        async with aclosing(connection.body()) as parts:
            while True:
                async with self._bounded():
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        return
                yield part

    def _broken(self, error: Exception) -> Exception:
        if isinstance(error, lm15.LM15Error):  # a time-out is an OSError too
            return error
        return lm15.TransportError(f"the connection to the provider failed: {error}", provider=self._provider)

    def _answer(self, completion: dict[str, Any]) -> Answer:
        choice = completion["choices"][0]
        message = dict(choice["message"])
        if choice.get("logprobs"):
            message["logprobs"] = choice["logprobs"]
        return self._made(message, completion.get("usage") or {}, completion.get("model"))

    def _made(self, message: dict[str, Any], usage: dict[str, Any], model: str | None) -> Answer:
        text = message.pop("content", None)
        rest = {key: value for key, value in message.items() if key in _USED and value}
        cost = price_tokens(self._provider, model or self._wire_model, self._wire_model, usage)
        output = text if isinstance(text, str) and not rest else {"text": text, **rest}
        return Answer(output, usage, cost)


class _Bounded:
    """Turns the end of the time into the error that the LM's callers know."""

    def __init__(self, seconds: float, provider: str) -> None:
        self._seconds = seconds
        self._provider = provider
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *details: Any) -> None:
        try:
            await self._timeout.__aexit__(*details)
        except TimeoutError as error:
            raise lm15.TimeoutError(f"no answer within {self._seconds:g} s", provider=self._provider) from error


__all__ = ["MAX_ANSWER", "ChatWire"]
