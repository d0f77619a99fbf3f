"""Inputs as callers have them: maps, JSON text, dataclasses, pydantic models → one new map."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json


def read_inputs(inputs: Any) -> Mapping[str, Any]:
    """Return the inputs by name; the values are the caller's own and must not be changed.

    Raises:
        BridgeError: `invalid_input` for what holds no named values.
    """
    if isinstance(inputs, Mapping):
        return cast("Mapping[str, Any]", inputs)
    if inputs is None:
        return {}
    if isinstance(inputs, str | bytes):
        return _from_json(inputs)
    if dataclasses.is_dataclass(inputs) and not isinstance(inputs, type):
        return {item.name: getattr(inputs, item.name) for item in dataclasses.fields(inputs)}
    kind: Any = cast("Any", inputs).__class__
    model_fields: Any = getattr(kind, "model_fields", None)
    if isinstance(model_fields, Mapping) and not isinstance(inputs, type):
        return {name: getattr(inputs, name) for name in cast("Mapping[str, Any]", model_fields)}
    items: Any = getattr(inputs, "items", None)
    if callable(items):  # dspy.Example
        return dict(cast("Any", items)())
    raise BridgeError(
        "invalid_input",
        f"inputs must be a map, JSON text of an object, a dataclass or a pydantic model, not {type(inputs).__name__}",
    )


def _from_json(text: str | bytes) -> Mapping[str, Any]:
    try:
        value = wire_json.decode(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    except BridgeError as error:
        raise BridgeError("invalid_input", f"the inputs are no JSON: {error.message}") from None
    if not isinstance(value, Mapping):
        raise BridgeError("invalid_input", f"the inputs' JSON must be an object, not {type(value).__name__}")
    return cast("Mapping[str, Any]", value)


__all__ = ["read_inputs"]
