"""From a prompt to a completion: one value for each output field."""

import json
import re
from collections.abc import Mapping
from typing import Any

from python_bridge.engine.offline.evidence import Evidence, gather
from python_bridge.engine.offline.prompt import OutputField, Prompt, Turn
from python_bridge.engine.offline.rendering import render
from python_bridge.engine.offline.values import Filler

_GUIDED = frozenset(
    re.findall(
        r"\w+",
        """answer response output result reply reasoning rationale confidence score sources evidence quotes text value
        label""",
    )
)


def answer(prompt: Prompt, schema: Mapping[str, Any] | None = None) -> str:
    """Return the completion that the prompt's adapter can read.

    Args:
        schema: JSON Schema that the answer to a plain prompt must fit (a structured-output request).
    """
    evidence = gather(prompt)
    if not prompt.outputs and schema is not None:
        return json.dumps(Filler(evidence, schema.get("$defs", {})).fill(schema, "answer"), ensure_ascii=False)
    if not prompt.outputs:
        return Filler(evidence, {}).fill({"type": "string"}, "answer")
    known = _same_turn(prompt)
    values = {field.name: _value(field, evidence, known) for field in prompt.outputs}
    raw = frozenset(field.name for field in prompt.outputs if field.raw_text)
    return render(prompt.adapter, values, raw)


def _value(field: OutputField, evidence: Evidence, known: Turn | None) -> Any:
    filler = Filler(evidence, field.schema.get("$defs", {}))
    if known is not None and field.name in known.outputs:
        found, value = _from_turn(field, known.outputs[field.name])
        if found:
            return value
    if field.name not in _GUIDED and field.schema.get("type") == "string":
        # A field with a name of its own (`capital`, `owner_name`) asks for what its name and description say.
        own = f"{field.name.replace('_', ' ')} {field.description}"
        filler = Filler(evidence.about(own), filler.definitions)
    return filler.fill(field.schema, field.name)


def _same_turn(prompt: Prompt) -> Turn | None:
    """Return the last demo or turn that had exactly these inputs: what it answered is the answer."""
    return next((turn for turn in reversed(prompt.turns) if turn.outputs and turn.inputs == prompt.inputs), None)


def _from_turn(field: OutputField, text: str) -> tuple[bool, Any]:
    if field.raw_text:
        return ("enum" not in field.schema or text in field.schema["enum"]), text
    if text in ("True", "False"):
        text = text.casefold()
    try:
        value = json.loads(text)
    except ValueError:
        return False, None
    kinds = {"integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}
    expected = kinds.get(str(field.schema.get("type")))
    return (expected is not None and isinstance(value, expected)), value


__all__ = ["answer"]
