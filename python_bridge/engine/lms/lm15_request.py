"""Chat completions bodies → requests of `dspy.lm15`. Plain texts go into a template: a third of the time."""

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from dspy import lm15
from dspy.lm15 import request_from_openai_chat

_SCALARS = frozenset({str, int, float, bool, type(None)})
_NOT_PARAMS = frozenset({"model", "messages"})
_MAKE = {"user": lm15.Message.user, "assistant": lm15.Message.assistant}

Param = tuple[str, type, Any]
"""Name, type and value: `1`, `1.0` and `True` are not the same parameter."""


def request_of(body: Mapping[str, Any]) -> lm15.Request:
    """Return what `request_from_openai_chat` gives."""
    params = tuple((name, type(value), value) for name, value in body.items() if name not in _NOT_PARAMS)
    if all(kind in _SCALARS for _, kind, _ in params) and (parts := _plain(body["messages"])) is not None:
        system, messages = parts
        return lm15.Request(**{**_template(body["model"], params), "messages": messages, "system": system})
    return request_from_openai_chat(dict(body))


@lru_cache(maxsize=256)
def _template(model: str, params: tuple[Param, ...]) -> dict[str, Any]:
    values = {name: value for name, _, value in params}
    made = request_from_openai_chat({"model": model, "messages": [{"role": "user", "content": "-"}], **values})
    return {item.name: getattr(made, item.name) for item in fields(made)}


def _plain(messages: list[Mapping[str, Any]]) -> tuple[str | None, tuple[lm15.Message, ...]] | None:
    """Return the system message and the talk where all of them are texts, else ``None``."""
    system = None
    if messages and messages[0].get("role") == "system":
        system, messages = messages[0].get("content"), messages[1:]
        if type(system) is not str or not system:
            return None
    if not messages or not all(_is_text(item) for item in messages):
        return None
    return system, tuple(_MAKE[item["role"]](item["content"]) for item in messages)


def _is_text(item: Mapping[str, Any]) -> bool:
    return len(item) == 2 and item.get("role") in _MAKE and type(item.get("content")) is str and bool(item["content"])


__all__ = ["request_of"]
