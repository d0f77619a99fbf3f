"""Programs as data: their shape, their canonical form and their hash."""

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from python_bridge._spec import spec_path
from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json

_MAX_PROBLEMS = 20

# Members that DSPy reads in their order, or shows to an LM in their order, keep it; all others are sorted.
_ORDERED = {"demos", "schema", "metadata", "state", "config", "params"}


@cache
def _validator() -> Any:
    return jsonschema_rs.Draft202012Validator(orjson.loads(spec_path("program.schema.json").read_bytes()))


def check_shape(program: Mapping[str, Any]) -> None:
    """See that a program has the shape of `proto/program.schema.json`.

    Raises:
        BridgeError: `invalid_request` with every problem in `details.problems` (`{path, message}`).
    """
    if not isinstance(program, Mapping):
        raise BridgeError("invalid_request", f"a program is a map, not {type(program).__name__}")
    try:
        plain = orjson.loads(canonical(program))
    except BridgeError as error:
        raise BridgeError("invalid_request", f"a program must be plain data: {error.message}") from None
    problems = [
        _problem(error) for error, _ in zip(_validator().iter_errors(plain), range(_MAX_PROBLEMS), strict=False)
    ]
    if problems:
        text = "; ".join(f"{item['path']}: {item['message']}" for item in problems[:3])
        raise BridgeError("invalid_request", f"this is no program: {text}", details={"problems": problems})


def _problem(error: Any) -> dict[str, str]:
    path = ".".join(["program", *(str(part) for part in error.instance_path)])
    return {"path": path, "message": error.message if len(error.message) <= 300 else error.message[:300] + "…"}


def canonical(program: Mapping[str, Any]) -> bytes:
    """Return the one JSON text of a program: members sorted, except where their order has a meaning."""
    return wire_json.encode(_sorted(program))


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: value[key] if key in _ORDERED else _sorted(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


def program_hash(program: Mapping[str, Any]) -> str:
    """Return the handle of a program: sha256 of its canonical JSON, 64 hexadecimal digits.

    Raises:
        BridgeError: `invalid_request` when it is not of the right shape.
    """
    check_shape(program)
    return hashlib.sha256(canonical(program)).hexdigest()


__all__ = ["canonical", "check_shape", "program_hash"]
