"""Embedders behind OpenAI's API, and every server that speaks it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy
import orjson

from python_bridge.engine.compat.errors import is_retryable, wrap_error
from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.failures import to_bridge_error
from python_bridge.engine.lms.chat_errors import status_error
from python_bridge.engine.lms.engines import OPENAI
from python_bridge.engine.lms.http.client import HttpClient
from python_bridge.engine.lms.http.parser import BadResponse
from python_bridge.engine.lms.lean import retry_delay
from python_bridge.engine.scope import current_scope
from python_bridge.settings import EmbedderSettings

MAX_ANSWER = 256 * 1024 * 1024
_TIMEOUT = 60.0


class RemoteEmbedder:
    """Asks in batches, one after the other, on the loop; errors that may pass are tried again.

    Args:
        settings: its table; `model` is ``"openai/…"``.
        key: API key; ``None`` sends none.

    Raises:
        ValueError: its URL is none.
    """

    def __init__(self, settings: EmbedderSettings, key: str | None) -> None:
        self._settings = settings
        self._provider, _, self._model = settings.model.partition("/")
        self._timeout = settings.timeout or _TIMEOUT
        self._client = HttpClient(settings.api_base or OPENAI)
        headers = {"content-type": "application/json", "accept": "*/*", "user-agent": "python-bridge"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        self._head = self._client.head("/embeddings", headers)

    async def embed(self, texts: Sequence[str]) -> numpy.ndarray:
        """Return one row for each text, float32.

        Raises:
            BridgeError: `lm_error`.
        """
        size = self._settings.batch_size
        parts = [await self._batch(list(texts[at : at + size])) for at in range(0, len(texts), size)]
        if len({part.shape[1] for part in parts}) > 1:
            raise to_bridge_error(self._public(self._unreadable("vectors of different lengths")))
        return numpy.concatenate(parts) if parts else numpy.zeros((0, 0), dtype=numpy.float32)

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._client.aclose()

    async def _batch(self, texts: list[str]) -> numpy.ndarray:
        attempt = 0
        while True:
            try:
                return await self._attempt(texts)
            except Exception as raised:
                error: Any = self._public(raised)
                if attempt >= self._settings.retries or not is_retryable(error):
                    raise to_bridge_error(error) from raised
                await asyncio.sleep(retry_delay(error, attempt))
                attempt += 1

    def _public(self, error: Exception) -> Exception:
        return wrap_error(error, model=self._settings.model, provider=self._provider)

    async def _attempt(self, texts: list[str]) -> numpy.ndarray:
        sent: dict[str, Any] = {"model": self._model, "input": texts, "encoding_format": "float"}
        if self._settings.dimensions is not None:
            sent["dimensions"] = self._settings.dimensions
        try:
            async with asyncio.timeout(self._timeout):
                content = await self._post(orjson.dumps(sent))
        except TimeoutError:
            raise lm15.TimeoutError(f"no answer within {self._timeout:g} s", provider=self._provider) from None
        except (OSError, BadResponse) as error:
            message = f"the connection to the provider failed: {error}"
            raise lm15.TransportError(message, provider=self._provider) from None
        return self._read(content, len(texts))

    async def _post(self, body: bytes) -> bytes:
        async with self._client.post(self._head, body) as connection:
            head = await connection.head()
            content = await connection.read(MAX_ANSWER)
        if not 200 <= head.status < 300:
            raise status_error(head.status, head.headers, content, self._provider)
        return content

    def _read(self, content: bytes, count: int) -> numpy.ndarray:
        try:
            answer = orjson.loads(content)
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = numpy.array([row["embedding"] for row in rows], dtype=numpy.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._unreadable(f"{content[:200]!r}") from error
        if vectors.ndim != 2 or len(vectors) != count or not numpy.isfinite(vectors).all():
            raise self._unreadable(f"{count} texts were sent, and what came has the shape {vectors.shape}")
        if (scope := current_scope()) is not None:
            scope.usage.add_tokens(self._settings.model, answer.get("usage") or {})
        return vectors

    def _unreadable(self, what: str) -> Exception:
        return lm15.ServerError(f"the answer holds no embeddings of the texts: {what}", provider=self._provider)


__all__ = ["MAX_ANSWER", "RemoteEmbedder"]
