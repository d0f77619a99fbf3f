"""The types that a corpus file declares (`types`), as Python classes."""

import datetime
import enum
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

_SCALARS = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
_CONSTRAINTS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}


def load_types(declared: dict[str, Any]) -> dict[str, type]:
    """Build every declared enum, model and opaque class."""
    types: dict[str, type] = {}
    for name, item in declared.items():
        if item["kind"] == "enum":
            base = {"int": enum.IntEnum, "str": enum.StrEnum}.get(item["mixin"], enum.Enum)
            types[name] = base(name, [tuple(member) for member in item["members"]], module=__name__)
        elif item["kind"] == "opaque_class":
            types[name] = type(name, (), {})
    for name, item in declared.items():
        if item["kind"] == "model":
            _model(name, item["json_schema"], types)
    return types


def _model(name: str, schema: dict[str, Any], types: dict[str, type]) -> type:
    if name in types:
        return types[name]
    definitions = schema.get("$defs", {})
    body = definitions[name] if "properties" not in schema else schema
    for other, inner in definitions.items():
        if other != name and other not in types:
            _model(other, {**inner, "$defs": definitions}, types)
    required = body.get("required", [])
    fields = {key: _field(value, key in required, name, types) for key, value in body["properties"].items()}
    model = create_model(name, __doc__=body.get("description"), **fields)
    types[name] = model
    model.model_rebuild(_types_namespace=types)
    return model


def _field(schema: dict[str, Any], required: bool, owner: str, types: dict[str, type]) -> tuple[Any, Any]:
    options: dict[str, Any] = {_CONSTRAINTS[key]: schema[key] for key in _CONSTRAINTS if key in schema}
    if "description" in schema:
        options["description"] = schema["description"]
    annotation = _annotation(schema, owner, types)
    if not required:
        default = schema.get("default")
        is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
        options["default"] = annotation(default) if is_enum else default
    return annotation, Field(**options)


def _annotation(schema: dict[str, Any], owner: str, types: dict[str, type]) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name if name == owner else types[name]
    if "anyOf" in schema:
        options = [_annotation(item, owner, types) for item in schema["anyOf"]]
        union = options[0]
        for option in options[1:]:
            union = union | option
        return union
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if schema.get("format") == "date-time":
        return datetime.datetime
    if schema.get("type") == "array":
        inner = _annotation(schema["items"], owner, types)
        return list[inner]  # type: ignore[valid-type]
    return _SCALARS[schema["type"]]


__all__ = ["BaseModel", "load_types"]
