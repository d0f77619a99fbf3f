"""Server-sent events of a chat completion → text as it comes, and the whole message at the end. No I/O."""

from typing import Any

import orjson

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.lms.chat_errors import status_error

_MAX_LINE = 16 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024


class StreamReader:
    """Reads one stream.

    Args:
        provider: for errors.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._rest = b""
        self._size = 0
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self._ended = False

    def feed(self, data: bytes) -> str:
        """Take bytes in any portions; return the text of the answer that they hold.

        Raises:
            lm15 errors: the server sent an error, something else than events, or more than `MAX_STREAM` bytes.
        """
        self._size += len(data)
        if self._size > MAX_STREAM:
            raise lm15.ServerError(f"the stream is longer than {MAX_STREAM} bytes", provider=self._provider)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            raise lm15.ServerError("an event of the stream is too large", provider=self._provider)
        return "".join(self._line(line) for line in lines)

    def _line(self, line: bytes) -> str:
        if not line.startswith(b"data:"):
            return ""
        data = line[5:].strip()
        if data == b"[DONE]":
            self._ended = True
            return ""
        try:
            return self._event(orjson.loads(data))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise lm15.ServerError(
                f"an event of the stream is no chunk: {data[:200]!r}", provider=self._provider
            ) from error

    def _event(self, event: dict[str, Any]) -> str:
        if "error" in event and not event.get("choices"):
            raise status_error(500, {}, orjson.dumps(event), self._provider)
        self._usage = event.get("usage") or self._usage
        self._model = event.get("model") or self._model
        texts = [self._choice(choice) for choice in event.get("choices") or () if choice.get("index", 0) == 0]
        return "".join(texts)

    def _choice(self, choice: dict[str, Any]) -> str:
        self._ended = self._ended or bool(choice.get("finish_reason"))
        delta = choice.get("delta") or {}
        if reasoning := delta.get("reasoning_content"):
            self._reasoning.append(reasoning)
        for call in delta.get("tool_calls") or ():
            self._call(call)
        text = delta.get("content") or ""
        self._text.append(text)
        return text

    def _call(self, part: dict[str, Any]) -> None:
        call = self._calls.setdefault(
            part.get("index", 0), {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = part.get("id") or call["id"]
        function = part.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def finish(self) -> tuple[dict[str, Any], dict[str, Any], str | None]:
        """Return the message, the usage and the model's name.

        Raises:
            lm15.StreamAssemblyError: the stream ended before the answer was complete.
        """
        if not self._ended:
            raise lm15.StreamAssemblyError("the stream ended before the answer was complete", provider=self._provider)
        message: dict[str, Any] = {"content": "".join(self._text) or None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message, self._usage, self._model


__all__ = ["MAX_STREAM", "StreamReader"]
