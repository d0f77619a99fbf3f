"""Typed parameters: a dataclass says what an operation takes, and maps from the wire are read into it strictly."""

from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from python_bridge.errors import BridgeError

T = TypeVar("T")
_NAMES: dict[type, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "a map",
    list: "a list",
    object: "any value",
}


@dataclass(frozen=True, slots=True)
class _Param:
    name: str
    kind: type
    required: bool
    nullable: bool


@cache
def _params_of(cls: type) -> dict[str, _Param]:
    hints = get_type_hints(cls)
    result: dict[str, _Param] = {}
    for item in fields(cls):
        hint = hints[item.name]
        nullable = get_origin(hint) is UnionType
        if nullable:
            (hint,) = (part for part in get_args(hint) if part is not type(None))
        kind: Any = object if hint is Any else get_origin(hint) or hint
        required = item.default is MISSING and item.default_factory is MISSING
        result[item.name] = _Param(item.name, kind, required, nullable)
    return result


def read_params(cls: type[T], params: dict[str, Any], where: str) -> T:
    """Return `params` as an instance of the dataclass `cls`.

    Args:
        where: the method, or the path of the map, for messages.

    Raises:
        BridgeError: `invalid_request` when a member is missing, unknown or of the wrong type.
    """
    known = _params_of(cls)
    if not known and not params:
        return cls()
    for name, value in params.items():
        if (param := known.get(name)) is None:
            raise BridgeError("invalid_request", f"{where} does not know {name!r}; {_known(known)}")
        if type(value) is not param.kind and not _fits(value, param):
            text = f"{name} of {where} must be {_NAMES[param.kind]}, it is {_name_of(value)}"
            raise BridgeError("invalid_request", text)
    if len(params) < len(known):
        _refuse_missing(known, params, where)
    return cls(**params)


def _refuse_missing(known: dict[str, _Param], params: dict[str, Any], where: str) -> None:
    for param in known.values():
        if param.required and param.name not in params:
            text = f"{where} lacks {param.name} ({_NAMES[param.kind]}); {_known(known)}"
            raise BridgeError("invalid_request", text)


def _fits(value: Any, param: _Param) -> bool:
    if param.kind is object or (value is None and param.nullable):
        return True
    return type(value) is param.kind or (param.kind is float and type(value) is int)


def _known(known: dict[str, _Param]) -> str:
    return f"it takes {', '.join(known)}" if known else "it takes nothing"


def _name_of(value: Any) -> str:
    kind: type = value.__class__
    return "null" if value is None else _NAMES.get(kind) or kind.__name__


__all__ = ["read_params"]
