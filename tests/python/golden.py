"""Golden vectors of `tests/vectors/` as test parameters, and the values that they describe."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from python_bridge.wire.values import ArrowData, Tensor

VECTORS = Path(__file__).parent.parent / "vectors"


def vectors(name: str, key: str = "cases") -> list[Any]:
    """Return the cases of a vector file as pytest parameters, named as they are in the file."""
    cases = orjson.loads((VECTORS / name).read_bytes())[key]
    return [pytest.param(case, id=case["name"]) for case in cases]


def described(description: list[Any]) -> Any:
    """Build the value that a vector describes."""
    kind, *parts = description
    return _BUILDERS[kind](*parts)


def _items(items: list[Any]) -> list[Any]:
    return [described(item) for item in items]


_BUILDERS: dict[str, Any] = {
    "null": lambda: None,
    "bool": bool,
    "int": int,
    "float": float,
    "text": str,
    "bytes": bytes.fromhex,
    "list": _items,
    "tuple": lambda items: tuple(_items(items)),
    "set": lambda items: frozenset(_items(items)),
    "map": lambda pairs: {key: described(item) for key, item in pairs},
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "tensor": lambda dtype, shape, data: Tensor(dtype, tuple(shape), bytes.fromhex(data)),
    "arrow": lambda data: ArrowData(bytes.fromhex(data)),
}


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last bit and in the same order: NaN is itself, 1 is not 1.0 nor True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime):
        return one.isoformat() == other.isoformat()
    if isinstance(one, frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    return one == other
