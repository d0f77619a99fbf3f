"""Executions as bytes for the journal: whatever a caller's values are, something of them is kept."""

from collections.abc import Mapping
from typing import Any, cast

import orjson

from python_bridge.tracking.journal import MAX_RECORD

_PLAIN = 0  # half the time, and enough for keys that are texts
_OPTIONS = orjson.OPT_NON_STR_KEYS
_REPR_CHARS = 500
_LONG_BYTES = 16 * 1024
_PARTS = ("inputs", "outputs", "metadata", "labels")


def body_of(event: dict[str, Any]) -> bytes:
    """Return an execution as JSON of at most `MAX_RECORD` bytes.

    Values that are no JSON stand there by their `repr`. What is too large goes without steps, and then with its long
    values cut.
    """
    body = _dumped(event, _PLAIN) or _dumped(event)
    body = body or _dumped({name: _kept(name, value) for name, value in event.items()})
    if body is not None and len(body) > MAX_RECORD:
        less = {name: value for name, value in event.items() if name != "steps"}
        body = _dumped({name: _kept(name, value, _LONG_BYTES) for name, value in less.items()})
    return body or b"null"


def _dumped(value: Any, options: int = _OPTIONS) -> bytes | None:
    try:
        return orjson.dumps(value, default=_told, option=options)
    except (TypeError, ValueError, RecursionError):
        return None


def _kept(name: str, value: Any, most: int | None = None) -> Any:
    if name in _PARTS and isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_fitting(key, None): _fitting(item, most) for key, item in items}
    return _fitting(value, None)


def _fitting(value: Any, most: int | None) -> Any:
    body = _dumped(value)
    return value if body is not None and (most is None or len(body) <= most) else _repr(value)


def _told(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(cast("Any", value))
    return _repr(value)


def _repr(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # of the caller's own class
        text = f"<{type(value).__name__}>"
    return text[:_REPR_CHARS].encode("utf-8", "backslashreplace").decode()


__all__ = ["body_of"]
