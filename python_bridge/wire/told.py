"""JSON for people and for storage: whatever a value holds is written, and read as it was where JSON can hold it."""

import datetime
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json
from python_bridge.wire.values import ArrowData, Limits, Tensor

# The tag of a map takes three levels of JSON for one of values, and orjson writes 254.
_LIMITS = Limits(max_depth=80, max_items=10_000_000)
_SHOWN = 500
_PLAIN = frozenset({str, int, float, bool, bytes, type(None), datetime.datetime, datetime.date, Tensor, ArrowData})


def encode_told(value: Any) -> bytes:
    """Return JSON with `$type` tags; what has no place in it is told by its `repr`, half a surrogate pair by U+FFFD."""
    try:
        return wire_json.encode(value, _LIMITS)
    except (BridgeError, RecursionError):
        return wire_json.encode(_told(value, 1), _LIMITS)


def plain(value: Any) -> Any:
    """Return `value` if it is data alone, else the like of it in which objects are told by their `repr`."""
    return value if _is_plain(value) else _told(value, 1)


def decode_told(body: bytes) -> Any:
    """Return what `encode_told` wrote.

    Raises:
        BridgeError: `protocol_error` for other bytes.
    """
    return wire_json.decode(body, _LIMITS)


def _is_plain(value: Any) -> bool:
    kind = cast("type[Any]", type(value))
    if kind in _PLAIN:
        return True
    if kind is dict:
        return all(_is_plain(item) for item in cast("dict[Any, Any]", value).values())
    if kind in (list, tuple, set, frozenset):
        return all(_is_plain(item) for item in cast("list[Any]", value))
    return kind.__module__.partition(".")[0] in ("numpy", "pyarrow")  # arrays and tables


def _told(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | list | tuple) and depth < _LIMITS.max_depth:
        if isinstance(value, dict):
            named = cast("dict[Any, Any]", value).items()
            return {_told(str(name), depth): _told(item, depth + 1) for name, item in named}
        return [_told(item, depth + 1) for item in cast("list[Any]", value)]
    try:
        wire_json.encode(value)
    except (BridgeError, RecursionError):
        return _told(_repr(value), depth)
    return cast("Any", value)


def _repr(value: Any) -> str:
    try:
        return repr(value)[:_SHOWN]
    except Exception:  # a foreign __repr__, or one of values nested too deep
        return f"<{type(value).__name__}>"


__all__ = ["decode_told", "encode_told", "plain"]
