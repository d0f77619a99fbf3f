"""The one table of type names. Nothing that is not in it resolves: no import, no attribute access, no evaluation."""

import collections
import datetime
import decimal
import typing
import uuid
from collections.abc import Mapping
from functools import cache
from typing import Any

_BUILTIN: dict[str, Any] = {
    kind.__name__: kind for kind in (int, str, float, bool, list, tuple, dict, set, frozenset, complex, bytes)
}

_TYPING: dict[str, Any] = {
    name: getattr(typing, name)
    for name in (
        "AbstractSet", "Annotated", "Any", "Collection", "Counter", "DefaultDict", "Deque", "Dict", "FrozenSet",
        "Iterable", "List", "Literal", "Mapping", "MutableMapping", "MutableSequence", "MutableSet", "Optional",
        "OrderedDict", "Sequence", "Set", "Text", "Tuple", "Union",
    )
}  # fmt: skip

_DOTTED: dict[str, Any] = {
    "datetime.date": datetime.date,
    "datetime.datetime": datetime.datetime,
    "datetime.time": datetime.time,
    "datetime.timedelta": datetime.timedelta,
    "decimal.Decimal": decimal.Decimal,
    "uuid.UUID": uuid.UUID,
}

_DSPY_TYPES = (
    "Audio", "Code", "File", "History", "Image", "Reasoning", "Tool", "ToolCallResults", "ToolCalls", "Type",
)  # fmt: skip


@cache
def _dspy_types() -> dict[str, Any]:
    import dspy

    known = ((name, getattr(dspy, name, None)) for name in _DSPY_TYPES)
    return {f"dspy.{name}": kind for name, kind in known if kind is not None}


@cache
def builtin_names() -> dict[str, Any]:
    """Return every name that needs no registration, with its type."""
    dotted = {f"typing.{name}": kind for name, kind in _TYPING.items()}
    return {**_BUILTIN, **_TYPING, "defaultdict": collections.defaultdict, **dotted, **_DOTTED, **_dspy_types()}


def lookup(path: str, registered: Mapping[str, type]) -> Any:
    """Return the type that `path` names, or ``None``.

    Registered types come first. As in DSPy, `NoneType` is known only where no type is registered.
    """
    if "." not in path and path in registered:
        return registered[path]
    if path == "NoneType" and not registered:
        return type(None)
    return builtin_names().get(path)


__all__ = ["builtin_names", "lookup"]
