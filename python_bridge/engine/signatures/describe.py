"""Signature classes → plain data for `module.describe`."""

from typing import Any, Literal

import dspy
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from python_bridge.engine.signatures.tree import type_tree


def describe_fields(signature: type[dspy.Signature], role: Literal["input", "output"]) -> list[dict[str, Any]]:
    """Return `{name, type, json_schema, desc, prefix}` for each field, in order; `type` is the type's name."""
    fields = signature.input_fields if role == "input" else signature.output_fields
    return [_describe(name, info) for name, info in fields.items()]


def _describe(name: str, info: FieldInfo) -> dict[str, Any]:
    from dspy.adapters.utils import get_annotation_name

    extra: dict[str, Any] = info.json_schema_extra  # type: ignore[assignment]
    return {
        "name": name,
        "type": get_annotation_name(info.annotation),
        "tree": type_tree(info.annotation),
        "json_schema": json_schema(info),
        "desc": extra["desc"],
        "prefix": extra["prefix"],
        "required": info.is_required(),
        "constraints": extra.get("constraints"),
    }


def json_schema(info: FieldInfo) -> Any:
    """Return the JSON Schema of a field's type, or ``None`` where it has none (`dspy.Tool`)."""
    annotation: Any = info.annotation
    try:
        return TypeAdapter(annotation).json_schema()
    except Exception:  # pydantic raises several classes here, none of them shared
        return None


__all__ = ["describe_fields", "json_schema"]
