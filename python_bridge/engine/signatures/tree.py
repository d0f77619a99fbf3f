"""Python types → the type tree that both languages compare: `{kind, args?, values?, name?}`."""

import enum
import types
import typing
from typing import Any

from pydantic import BaseModel

_SIMPLE = {
    kind: kind.__name__
    for kind in (str, int, float, bool, list, tuple, dict, set, frozenset, bytes, complex)
}  # fmt: skip


def type_tree(annotation: Any) -> dict[str, Any]:
    """Describe a type as plain data.

    Returns:
        `kind` is ``str`` … ``bytes``, ``any``, ``none``, ``union``, ``literal``, ``enum``, ``model``, ``dspy_type``,
        ``class``, ``ellipsis``, or the path of a generic class; `args` are trees, `values` are `{type, value}`.
    """
    if annotation is None or annotation is type(None):
        return {"kind": "none"}
    if annotation is Any:
        return {"kind": "any"}
    if annotation is ...:
        return {"kind": "ellipsis"}
    origin = typing.get_origin(annotation)
    if origin is not None:
        return _generic(annotation, origin)
    return _plain(annotation)


def _generic(annotation: Any, origin: Any) -> dict[str, Any]:
    arguments = typing.get_args(annotation)
    if origin is typing.Literal:
        return {"kind": "literal", "values": [_literal(value) for value in arguments]}
    if origin in (typing.Union, types.UnionType):
        return {"kind": "union", "args": [type_tree(item) for item in arguments]}
    if origin is typing.Annotated:
        return type_tree(arguments[0])
    kind = _SIMPLE.get(origin) or f"{origin.__module__}.{origin.__qualname__}"
    # `List` has no arguments, `Tuple[()]` and `tuple[()]` have an empty list of them.
    if not arguments and not isinstance(annotation, types.GenericAlias) and annotation != typing.Tuple[()]:  # noqa: UP006
        return {"kind": kind}
    return {"kind": kind, "args": [type_tree(item) for item in arguments]}


def _literal(value: Any) -> dict[str, Any]:
    plain = value if value is None or isinstance(value, str | bool | int) else repr(value)
    return {"type": type(value).__name__, "value": plain}


def _plain(annotation: Any) -> dict[str, Any]:
    if simple := _SIMPLE.get(annotation):
        return {"kind": simple}
    if annotation.__module__.startswith("dspy."):
        return {"kind": "dspy_type", "name": annotation.__name__}
    if issubclass(annotation, enum.Enum):
        return {"kind": "enum", "name": annotation.__name__}
    if issubclass(annotation, BaseModel):
        return {"kind": "model", "name": annotation.__name__}
    return {"kind": "class", "name": f"{annotation.__module__}.{annotation.__qualname__}"}


__all__ = ["type_tree"]
