"""What the methods of a class do, as bytes: two versions of one file have one name and other answers."""

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_SCALARS = (str, int, float, bool, bytes, type(None))
_NOT_OURS = ("builtins", "dspy", "abc", "typing")


def code_of(kind: type) -> str:
    """Return the code of a class, of its bases, and of the functions and constants of its package that it names."""
    parts: list[Any] = []
    seen: set[int] = set()
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in _NOT_OURS:
            for name, value in sorted(base.__dict__.items()):
                parts.extend([name, _function(function, seen)] for function in _functions(value))
    return repr(parts)


def entry_of(kind: type) -> Any:
    """Return the code that runs first: another one when the class was patched in place."""
    entry = getattr(kind, "forward", None) or getattr(kind, "aforward", None)
    return getattr(entry, "__code__", None)


def _functions(value: Any) -> Iterator[FunctionType]:
    found = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
    for item in found:
        item = inspect.unwrap(item) if callable(item) else item
        if isinstance(item, FunctionType):
            yield item


def _function(function: FunctionType, seen: set[int]) -> Any:
    if id(function) in seen:
        return None
    seen.add(id(function))
    package = _package(function)
    used = [
        [name, _global(function.__globals__[name], package, seen)]
        for name in _names(function.__code__)
        if name in function.__globals__
    ]
    defaults = [value for value in function.__defaults__ or () if type(value) in _SCALARS]
    return [_code(function.__code__), defaults, used]


def _global(value: Any, package: str, seen: set[int]) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, FunctionType) and _package(value) == package:
        return _function(value, seen)
    return None


def _package(function: FunctionType) -> str:
    module: str | None = function.__module__  # code that was made of text need not have one
    return (module or "").partition(".")[0]


def _names(code: CodeType) -> list[str]:
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in _names(const)]
    return sorted({*code.co_names, *inner})


def _code(code: CodeType) -> Any:
    consts = [_const(value) for value in code.co_consts]
    return [code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, consts]


def _const(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return repr(value)


__all__ = ["code_of", "entry_of"]
