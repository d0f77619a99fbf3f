"""JSON Schemas in the place of types."""

import re
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from python_bridge.errors import BridgeError

_SIMPLE: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}
_ANNOTATIONS = {"title", "description", "examples", "$comment", "default", "deprecated"}


def schema_type(schema: Mapping[str, Any] | bool, field: str) -> Any:
    """Return a Python type for a JSON Schema.

    A schema that says no more than a Python type does becomes that type (`str`, `list[int]`, `Literal['a', 'b']`,
    `int | None`); any other becomes a class whose values are plain data that the schema accepts, and whose JSON
    Schema is the given one, word for word.

    Raises:
        BridgeError: `signature_error` when it is no JSON Schema, or points to a schema elsewhere.
    """
    if isinstance(schema, bool):
        if schema:
            return Any
        raise BridgeError("signature_error", f"the schema of `{field}` is `false`: no value fits it")
    simple = _simple(schema)
    return simple if simple is not None else _schema_class(field, orjson.dumps(schema))


def _simple(schema: Mapping[str, Any]) -> Any:
    """Return the Python type that says all that the schema says, or ``None``."""
    said = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    if not said:
        return Any
    if "enum" in said and set(said) <= {"enum", "type"}:
        return _literal(said["enum"])
    if set(said) == {"const"}:
        return _literal([said["const"]])
    if set(said) == {"anyOf"} and isinstance(said["anyOf"], list) and said["anyOf"]:
        return _union(said["anyOf"])
    kind = said.get("type")
    if isinstance(kind, list) and set(said) == {"type"} and all(item in _SIMPLE for item in kind):
        return typing.Union[tuple(_SIMPLE[item] for item in kind)]  # noqa: UP007
    if not isinstance(kind, str) or kind not in _SIMPLE:
        return None
    return _of_kind(kind, {key: value for key, value in said.items() if key != "type"})


def _of_kind(kind: str, rest: dict[str, Any]) -> Any:
    if not rest:
        return _SIMPLE[kind]
    if kind == "array" and set(rest) == {"items"} and isinstance(rest["items"], Mapping):
        inner = _simple(rest["items"])
        return None if inner is None else list[inner]
    if kind == "object" and set(rest) == {"additionalProperties"} and isinstance(rest["additionalProperties"], Mapping):
        inner = _simple(rest["additionalProperties"])
        return None if inner is None else dict[str, inner]
    return None


def _literal(values: Any) -> Any:
    if not isinstance(values, list) or not values or not all(isinstance(item, str | int | None) for item in values):
        return None
    return typing.Literal[tuple(values)]


def _union(options: list[Any]) -> Any:
    types = [_simple(option) if isinstance(option, Mapping) else None for option in options]
    return None if None in types else typing.Union[tuple(types)]  # noqa: UP007


@lru_cache(maxsize=512)
def _schema_class(field: str, text: bytes) -> type:
    schema = orjson.loads(text)
    try:
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse_remote)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
        reason = str(error).partition("\n")[0]
        raise BridgeError(
            "signature_error", f"the schema of `{field}` is no JSON Schema: {reason}", details={"field": field}
        ) from None
    title = schema.get("title") if isinstance(schema.get("title"), str) else field
    name = re.sub(r"\W", "", str(title)) or "Value"
    return type(name, (SchemaValue,), {"schema": schema, "validator": validator})


def _refuse_remote(uri: str) -> Any:
    raise ValueError(f"schemas elsewhere are not fetched ({uri})")


class SchemaValue:
    """Base of the classes that stand for JSON Schemas; their values are plain data, never instances."""

    schema: typing.ClassVar[dict[str, Any]]
    validator: typing.ClassVar[Any]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.check)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(cls.schema)

    @classmethod
    def check(cls, value: Any) -> Any:
        """Return the value when the schema accepts it, else raise what pydantic expects of validators."""
        try:
            first = next(iter(cls.validator.iter_errors(value)), None)
        except ValueError as error:
            raise PydanticCustomError("json_schema", "is no JSON value: {reason}", {"reason": str(error)}) from None
        if first is not None:
            path = "/".join(str(part) for part in first.instance_path)
            raise PydanticCustomError(
                "json_schema", "{reason}", {"reason": f"{path + ': ' if path else ''}{first.message}"}
            )
        return value


__all__ = ["SchemaValue", "schema_type"]
