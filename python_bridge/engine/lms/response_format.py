"""Structured output requests in the form that providers take."""

from functools import lru_cache
from typing import Any

from pydantic import BaseModel


def response_format(value: Any) -> Any:
    """Return a strict JSON Schema request for a pydantic class; other values as they are."""
    return _of_class(value) if isinstance(value, type) and issubclass(value, BaseModel) else value


@lru_cache(maxsize=512)
def _of_class(value: type[BaseModel]) -> dict[str, Any]:
    schema = _strict(value)
    return {"type": "json_schema", "json_schema": {"name": value.__name__, "schema": schema, "strict": True}}


def _strict(value: type[BaseModel]) -> dict[str, Any]:
    schema = value.model_json_schema()
    try:
        from dspy.clients.legacy_requests import _strict_json_schema
    except ImportError:  # such a dspy makes its classes strict itself
        return schema
    return _strict_json_schema(schema)


__all__ = ["response_format"]
