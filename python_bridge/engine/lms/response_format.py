"""Structured output requests in the form that providers take."""

from functools import lru_cache
from typing import Any

from dspy.clients.legacy_requests import _strict_json_schema
from pydantic import BaseModel


def response_format(value: Any) -> Any:
    """Return a strict JSON Schema request for a pydantic class; other values as they are."""
    return _of_class(value) if isinstance(value, type) and issubclass(value, BaseModel) else value


@lru_cache(maxsize=512)
def _of_class(value: type[BaseModel]) -> dict[str, Any]:
    schema = _strict_json_schema(value.model_json_schema())
    return {"type": "json_schema", "json_schema": {"name": value.__name__, "schema": schema, "strict": True}}


__all__ = ["response_format"]
