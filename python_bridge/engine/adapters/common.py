"""The common prompt and the common answer in one pass. What is out of the ordinary is DSPy's own to write and read.

DSPy looks at the fields of a signature some ten times a call, and each look makes a new map of them.
"""

from collections.abc import Mapping
from typing import Any

import dspy
from dspy.adapters.chat_adapter import field_header_pattern
from dspy.adapters.utils import parse_value

from python_bridge.engine.adapters.kept import Kept
from python_bridge.engine.inputs import MARKER

_HEADER = "[[ ## "
_HAS_SYSTEM = hasattr(dspy.Adapter, "format_system_message")


class CommonPrompt:
    """Prompts of a system message and one of the user. Stands before DSPy's adapter in the order of classes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._common = Kept(_has_no_history)

    def format(self, signature: Any, demos: Any, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the messages of a prompt."""
        if _HAS_SYSTEM and not demos and self._common(signature):
            adapter: Any = self
            content = adapter.format_user_message_content(signature, dict(inputs), main_request=True)
            if content and MARKER not in content:
                system = adapter.format_system_message(signature)
                return [{"role": "system", "content": system}, {"role": "user", "content": content}]
        return super().format(signature, demos, inputs)  # type: ignore[misc]


class CommonAnswer:
    """Chat answers that have every field, in the order of the signature."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._outputs = Kept(_output_types)

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Return the fields of an answer."""
        types = self._outputs(signature)
        try:
            values = _read(types, completion)
        except Exception:  # DSPy says it in its own words
            values = None
        return super().parse(signature, completion) if values is None else values  # type: ignore[misc]


def _read(types: Mapping[str, Any], completion: str) -> dict[str, Any] | None:
    texts: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in completion.splitlines():
        if _HEADER in line and (match := field_header_pattern.match(line.strip())):
            rest = line[match.end() :].strip()
            lines = [rest] if rest else []
            texts.setdefault(match[1], lines)
        else:
            lines.append(line)
    if [name for name in texts if name in types] != list(types):
        return None
    return {name: _value("\n".join(texts[name]).strip(), kind) for name, kind in types.items()}


def _value(text: str, kind: Any) -> Any:
    return text if kind is str else parse_value(text, kind)


def _has_no_history(signature: Any) -> bool:
    return all(info.annotation != dspy.History for info in signature.input_fields.values())


def _output_types(signature: Any) -> dict[str, Any]:
    return {name: info.annotation for name, info in signature.output_fields.items()}


__all__ = ["CommonAnswer", "CommonPrompt"]
