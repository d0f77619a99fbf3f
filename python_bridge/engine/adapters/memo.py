"""DSPy's adapters, with the constant part of a prompt made once a signature. Every byte is DSPy's own.

What depends on the signature alone (the system message, the reminder of the output format, the schema of structured
outputs) is kept in small caches. Plain values among the inputs are printed without pydantic.
"""

from collections.abc import Callable
from typing import Any

import dspy
from cachetools import LRUCache
from dspy.adapters.utils import format_field_value

from python_bridge.engine.compat.streams import CarefulFallback

CACHE_SIZE = 512
_PLAIN = frozenset({str, int, bool, type(None)})


class _Memo:
    """The caches of one adapter. Its methods stand before DSPy's in the order of classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._systems: LRUCache[Any, Any] = LRUCache(CACHE_SIZE)
        self._reminders: LRUCache[Any, Any] = LRUCache(CACHE_SIZE)
        self._formats: LRUCache[Any, Any] = LRUCache(CACHE_SIZE)

    def format_system_message(self, signature: Any) -> str:
        """Return the system message of a signature."""
        return kept(self._systems, signature, super().format_system_message)  # type: ignore[misc]

    def user_message_output_requirements(self, signature: Any) -> Any:
        """Return the reminder of the output format."""
        return kept(self._reminders, signature, super().user_message_output_requirements)  # type: ignore[misc]


class _ChatInputs:
    """Inputs under `[[ ## name ## ]]` headers, as the chat and the JSON adapter print them."""

    def format_user_message_content(
        self, signature: Any, inputs: dict[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        """Return the message of the user."""
        parts = [prefix]
        for name, info in signature.input_fields.items():
            if name in inputs:
                parts.append(f"[[ ## {name} ## ]]\n{format_value(info, inputs[name])}")
        if main_request:
            reminder = self.user_message_output_requirements(signature)  # type: ignore[attr-defined]
            if reminder is not None:
                parts.append(reminder)
        parts.append(suffix)
        return "\n\n".join(parts).strip()


class MemoJSONAdapter(_Memo, _ChatInputs, dspy.JSONAdapter):
    """`dspy.JSONAdapter`; the schema of structured outputs is made once a signature and LM."""

    def _prepare_response_format(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any) -> None:
        key = (_key(signature), lm.model, lm.supports_response_schema, "response_format" in lm.supported_params)
        if key not in self._formats:
            made: dict[str, Any] = {}
            super()._prepare_response_format(lm, made, signature)
            self._formats[key] = made
        lm_kwargs.update(self._formats[key])


class MemoChatAdapter(CarefulFallback, _Memo, _ChatInputs, dspy.ChatAdapter):
    """`dspy.ChatAdapter`; what it cannot read is asked for again by one and the same JSON adapter."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fallback = MemoJSONAdapter(use_native_function_calling=self.use_native_function_calling)

    def _make_json_adapter_fallback(self) -> Any:
        return self._fallback


class MemoXMLAdapter(CarefulFallback, _Memo, dspy.XMLAdapter):
    """`dspy.XMLAdapter`."""


def _key(signature: Any) -> Any:
    # A signature class is as good as constant, its instructions are not.
    return signature, signature.__doc__


def kept(cache: LRUCache[Any, Any], signature: Any, make: Callable[[Any], Any]) -> Any:
    """Return what `make` gives for the signature, made once while the cache holds it."""
    key = _key(signature)
    if (value := cache.get(key)) is None:
        value = cache[key] = make(signature)
    return value


def format_value(info: Any, value: Any) -> Any:
    """Print one input as `dspy.adapters.utils.format_field_value` does."""
    return str(value) if type(value) in _PLAIN else format_field_value(field_info=info, value=value)


__all__ = ["CACHE_SIZE", "MemoChatAdapter", "MemoJSONAdapter", "MemoXMLAdapter", "format_value", "kept"]
