"""Chat completions in OpenAI's shapes."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from python_bridge.engine import offline
from python_bridge.engine.offline.pieces import count_tokens, cut
from python_bridge.engine.offline.prompt import ChatMessage, read_prompt
from python_bridge.engine.offline.rendering import render
from python_bridge.testing.http import BadRequest
from python_bridge.testing.openai_behaviour import Behaviour

_IDS = count(1)


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer to one request, ready to be sent whole or in chunks."""

    id: str
    created: int
    model: str
    text: str
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    usage: dict[str, int]
    choices: int

    def whole(self) -> dict[str, Any]:
        """Return the body of an answer that is not streamed."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None}
        if self.tool_calls:
            message |= {"content": self.text or None, "tool_calls": self.tool_calls}
        choice = {"message": message, "logprobs": None, "finish_reason": self.finish_reason}
        choices = [{"index": index, **choice} for index in range(self.choices)]
        return {**self._envelope("chat.completion"), "choices": choices, "usage": self.usage}

    def start(self) -> dict[str, Any]:
        """Return the first chunk of a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def deltas(self) -> Iterator[dict[str, Any]]:
        """Yield the chunks that carry the answer."""
        for piece in cut(self.text):
            yield self._chunk({"content": piece})
        for index, call in enumerate(self.tool_calls):
            yield self._chunk({"tool_calls": [{"index": index, **call}]})

    def end(self, include_usage: bool) -> Iterator[dict[str, Any]]:
        """Yield the last chunks: the reason to stop and, if asked for, the usage."""
        yield self._chunk({}, self.finish_reason)
        if include_usage:
            yield {**self._envelope("chat.completion.chunk"), "choices": [], "usage": self.usage}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._envelope("chat.completion.chunk"), "choices": [choice]}

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def complete(body: Mapping[str, Any], behaviour: Behaviour) -> Completion:
    """Answer a request body as a behaviour says.

    Raises:
        BadRequest: the body is not one of chat completions.
    """
    if not isinstance(body.get("model"), str) or not isinstance(body.get("messages"), list):
        raise BadRequest("a chat completion needs a model (text) and messages (list)")
    messages = [_message(message) for message in body["messages"]]
    text = _text(messages, body, behaviour)
    number = next(_IDS)
    calls = [_tool_call(number, index, call) for index, call in enumerate(behaviour.tool_calls)]
    spent = sum(count_tokens(content) for _, content in messages), count_tokens(text)
    prompt, answer = behaviour.usage or spent
    return Completion(
        id=f"chatcmpl-{number}",
        created=int(time.time()),
        model=body["model"],
        text=text,
        tool_calls=calls,
        finish_reason=behaviour.finish_reason or ("tool_calls" if calls else "stop"),
        usage={"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        choices=max(1, int(body.get("n") or 1)),
    )


def sse(event: Mapping[str, Any] | str) -> bytes:
    """Return one server-sent event."""
    data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return f"data: {data}\n\n".encode()


def _text(messages: Sequence[ChatMessage], body: Mapping[str, Any], behaviour: Behaviour) -> str:
    if behaviour.text is not None:
        return behaviour.text
    if behaviour.fields is not None:
        return render(read_prompt(messages).adapter, dict(behaviour.fields))
    if behaviour.tool_calls:
        return ""
    wanted = body.get("response_format") or {}
    schema = wanted.get("json_schema", {}).get("schema") if wanted.get("type") == "json_schema" else None
    if wanted.get("type") == "json_object":
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
    return offline.complete(messages, schema)


def _message(message: Any) -> ChatMessage:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest("each message is an object with a role")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return message["role"], content if isinstance(content, str) else ""


def _tool_call(number: int, index: int, call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call.get("arguments", {}))}
    return {"id": f"call_{number}_{index}", "type": "function", "function": function}


__all__ = ["Completion", "complete", "sse"]
