"""Type notes of DSPy's prompts as JSON Schema."""

import ast
import json
import re
from typing import Any

_SIMPLE: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "NoneType": {"type": "null"},
    "dict": {"type": "object"},
    "list": {"type": "array"},
}
_CHOICES = re.compile(r"^must (?:be|exactly match \(no extra characters\)) one of: (.*)$", re.DOTALL)
_SCHEMA = "must adhere to the JSON schema: "
_BOUNDS = {
    "greater than or equal to": "minimum",
    "less than or equal to": "maximum",
    "greater than": "exclusiveMinimum",
    "less than": "exclusiveMaximum",
    "minimum length": "minLength",
    "maximum length": "maxLength",
}
_BOUND = re.compile(rf"({'|'.join(_BOUNDS)}): (-?[\d.]+(?:e[+-]?\d+)?)")


def note_schema(note: str, type_: str, description: str = "") -> tuple[dict[str, Any], bool]:
    """Return the JSON Schema of a field and whether its value is taken as raw text.

    Args:
        note: what follows ``# note: the value you produce``; empty for text.
        type_: the type as the prompt spells it.
        description: may hold a ``Constraints:`` line.
    """
    if not note:
        return {"type": "string", **_bounds(description, "string")}, True
    if match := _CHOICES.match(note):
        return {"enum": _literal(type_) or match[1].split("; ")}, True
    if note.startswith(_SCHEMA):
        schema = _schema(note.removeprefix(_SCHEMA))
        return schema, _optional_text(schema)
    schema = dict(type_schema(type_))
    return {**schema, **_bounds(description, str(schema.get("type")))}, False


def type_schema(type_: str) -> dict[str, Any]:
    """Return the JSON Schema of a type's spelling; `{}` (anything) for names it doesn't know."""
    if type_ in _SIMPLE:
        return _SIMPLE[type_]
    name, bracket, inner = type_.partition("[")
    if not bracket or not type_.endswith("]"):
        return {}
    if name == "Literal":
        return {"enum": _literal(type_)}
    arguments = [type_schema(argument) for argument in _split(inner[:-1])]
    if name in ("list", "set", "frozenset"):
        return {"type": "array", "items": arguments[0]}
    if name == "dict":
        return {"type": "object", "additionalProperties": arguments[-1]}
    if name == "tuple":
        return {"type": "array", "prefixItems": arguments, "minItems": len(arguments), "maxItems": len(arguments)}
    return {"anyOf": arguments} if name in ("Union", "Optional") else {}


def skeleton_schema(skeleton: str, type_: str) -> dict[str, Any]:
    """Return the schema of the XML adapter's nested structure (`<item>...</item>`).

    Leaves of pydantic models carry no type there: they become `{"format": "any-text"}`, text that most types read.
    """
    known = type_schema(type_)
    return known if type_.startswith("dict") or (known and "{}" not in json.dumps(known)) else _skeleton(skeleton)


def _skeleton(text: str) -> dict[str, Any]:
    children = list(re.finditer(r"<([\w.-]+)>(.*?)</\1>", text, re.DOTALL))
    if not children:
        return {"format": "any-text"}
    if [child[1] for child in children] == ["item"]:
        items = _skeleton(children[0][2])
        # Where even the items' shape is untold (a recursive model), only the empty list is sure to be valid.
        return {"type": "array", "items": items, **({} if "type" in items else {"maxItems": 0})}
    properties = {child[1]: _skeleton(child[2]) for child in children}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _schema(text: str) -> dict[str, Any]:
    try:
        schema, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return schema if isinstance(schema, dict) else {}


def _optional_text(schema: dict[str, Any]) -> bool:
    """Whether this is `str | None`, which DSPy takes without reading JSON."""
    kinds = [choice.get("type") for choice in schema.get("anyOf", [])]
    return "string" in kinds and "null" in kinds


def _literal(type_: str) -> list[Any]:
    if not type_.startswith("Literal["):
        return []
    try:
        # Only literals are read here: nothing is evaluated.
        return list(ast.literal_eval(f"[{type_[8:-1]}]"))
    except (ValueError, SyntaxError):
        return []


def _split(text: str) -> list[str]:
    """Split at commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[]":
            depth += 1 if char == "[" else -1
        elif char == "," and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]


def _bounds(description: str, kind: str) -> dict[str, Any]:
    constraints = description.rpartition("Constraints: ")[2] if "Constraints: " in description else ""
    bounds = {_BOUNDS[match[1]]: float(match[2]) for match in _BOUND.finditer(constraints)}
    if kind in ("integer", "number"):
        return {name: value for name, value in bounds.items() if "Length" not in name}
    return {name: int(value) for name, value in bounds.items() if "Length" in name}


__all__ = ["note_schema", "skeleton_schema", "type_schema"]
