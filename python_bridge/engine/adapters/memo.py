"""DSPy's adapters, with the constant part of a prompt made once a signature. Every byte is DSPy's own.

What depends on the signature alone (the system message, the reminder of the output format, the schema of structured
outputs) is kept in small caches. Plain values among the inputs are printed without pydantic. `common` has the prompts
and the answers that need none of DSPy's special cases.
"""

from typing import Any

import dspy
from dspy.adapters.utils import format_field_value

from python_bridge.engine.adapters.common import CommonAnswer, CommonPrompt
from python_bridge.engine.adapters.kept import CACHE_SIZE, Kept, key_of
from python_bridge.engine.adapters.readable import ReadableAnswer
from python_bridge.engine.compat.streams import CarefulFallback

_PLAIN = frozenset({str, int, bool, type(None)})


class _Memo(CommonPrompt):
    """The caches of one adapter. Its methods stand before DSPy's in the order of classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._systems = Kept(lambda signature: super(_Memo, self).format_system_message(signature))  # type: ignore[misc]
        self._reminders = Kept(lambda signature: super(_Memo, self).user_message_output_requirements(signature))  # type: ignore[misc]

    def format_system_message(self, signature: Any) -> str:
        """Return the system message of a signature."""
        return self._systems(signature)

    def user_message_output_requirements(self, signature: Any) -> Any:
        """Return the reminder of the output format."""
        return self._reminders(signature)


class _ChatInputs:
    """Inputs under `[[ ## name ## ]]` headers, as the chat and the JSON adapter print them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._inputs = Kept(lambda signature: dict(signature.input_fields))

    def format_user_message_content(
        self, signature: Any, inputs: dict[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        """Return the message of the user."""
        parts = [prefix]
        for name, info in self._inputs(signature).items():
            if name in inputs:
                parts.append(f"[[ ## {name} ## ]]\n{format_value(info, inputs[name])}")
        if main_request:
            reminder = self.user_message_output_requirements(signature)  # type: ignore[attr-defined]
            if reminder is not None:
                parts.append(reminder)
        parts.append(suffix)
        return "\n\n".join(parts).strip()


class MemoJSONAdapter(ReadableAnswer, _Memo, _ChatInputs, dspy.JSONAdapter):
    """`dspy.JSONAdapter`; the schema of structured outputs is made once a signature and LM."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._formats: dict[Any, dict[str, Any]] = {}  # unlike a cache of cachetools, safe for threads

    def _prepare_response_format(self, lm: Any, lm_kwargs: dict[str, Any], signature: Any) -> None:
        key = (key_of(signature), lm.model, lm.supports_response_schema, "response_format" in lm.supported_params)
        made = self._formats.get(key)
        if made is None:
            made = {}
            super()._prepare_response_format(lm, made, signature)
            if len(self._formats) >= CACHE_SIZE:
                self._formats.clear()
            self._formats[key] = made
        lm_kwargs.update(made)


class _AsJSON:
    """What an adapter cannot read is asked for again by one and the same JSON adapter."""

    use_native_function_calling: bool

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._fallback = MemoJSONAdapter(use_native_function_calling=self.use_native_function_calling)

    def _make_json_adapter_fallback(self) -> Any:
        return self._fallback


class MemoChatAdapter(_AsJSON, CarefulFallback, ReadableAnswer, _Memo, _ChatInputs, CommonAnswer, dspy.ChatAdapter):
    """`dspy.ChatAdapter`."""


class MemoXMLAdapter(_AsJSON, CarefulFallback, ReadableAnswer, _Memo, dspy.XMLAdapter):
    """`dspy.XMLAdapter`."""


def format_value(info: Any, value: Any) -> Any:
    """Print one input as `dspy.adapters.utils.format_field_value` does."""
    return str(value) if type(value) in _PLAIN else format_field_value(field_info=info, value=value)


__all__ = ["MemoChatAdapter", "MemoJSONAdapter", "MemoXMLAdapter", "format_value"]
