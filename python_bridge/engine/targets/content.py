"""What a module instance is made of, as a hash: its classes, signatures, demos, configuration and plain attributes."""

import hashlib
from typing import Any

import dspy

from python_bridge.engine.outputs import to_plain
from python_bridge.engine.targets.lms import identity_of, number_of
from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json

_LEFT_OUT = frozenset({"history", "callbacks", "traces", "train", "stage", "_compiled"})
_SCALARS = (str, int, float, bool, bytes, type(None))


class Content:
    """The hash of one module, made anew when the module was changed.

    Seen are other attributes, signatures, demos (added, taken away, replaced, or with other fields) and parameters in
    every module of the tree; not seen is a change deep inside of an attribute's value, such as an item of a list
    within a demo. Give changed values as new objects, or clear the cache.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._mark: Any = None
        self._held: Any = None
        self._value: tuple[str, bool] = ("", False)

    def get(self) -> tuple[str, bool]:
        """Return the hash, and whether it means the same in another process."""
        held: list[Any] = []
        mark = [_mark(part, held) for part in _tree(self._module)]
        if mark != self._mark:
            self._value = _hash(self._module)
            self._mark, self._held = mark, held  # what is held keeps its id
        return self._value


def _tree(module: Any) -> list[Any]:
    if isinstance(module, dspy.Predict):
        return [module]
    return [module, *(part for _, part in module.named_sub_modules() if part is not module)]


def _mark(module: Any, held: list[Any]) -> list[Any]:
    found: list[Any] = [id(module)]
    for name, value in module.__dict__.items():
        if name in _LEFT_OUT:
            continue
        if type(value) in _SCALARS:
            found.append((name, value))
            continue
        held.append(value)
        found.append((name, id(value)))
        if type(value) is list:
            found.extend(_item(item, held) for item in value)
        elif type(value) is dict:
            found.extend((key, _item(item, held)) for key, item in value.items())
    return found


def _item(value: Any, held: list[Any]) -> Any:
    if type(value) in _SCALARS:
        return value
    held.append(value)
    fields = getattr(value, "_store", None) if isinstance(value, dspy.Example) else None
    fields = value if type(value) is dict else fields
    if fields is None:
        return id(value)
    held.extend(fields.values())
    return [id(value), *((key, id(item)) for key, item in fields.items())]


def _hash(module: Any) -> tuple[str, bool]:
    unstable: list[bool] = []
    parts = [[path, _described(part, unstable)] for path, part in _named(module)]
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return digest, not unstable


def _named(module: Any) -> list[tuple[str, Any]]:
    if isinstance(module, dspy.Predict):
        return [("self", module)]
    return [("self", module), *((path, part) for path, part in module.named_sub_modules() if part is not module)]


def _described(module: Any, unstable: list[bool]) -> list[Any]:
    kind = type(module)
    if "<locals>" in kind.__qualname__ or kind.__module__ == "__main__":
        unstable.append(True)  # another process may have another class of this name
    found: list[Any] = [kind.__module__, kind.__qualname__, number_of(kind) if unstable else 0]
    for name, value in sorted(module.__dict__.items()):
        if name not in _LEFT_OUT and not isinstance(value, dspy.Module):
            found.append([name, _value(value, unstable)])
    return found


def _value(value: Any, unstable: list[bool]) -> Any:
    if isinstance(value, type) and issubclass(value, dspy.Signature):
        fields = [(name, repr(info.annotation), info.json_schema_extra) for name, info in value.fields.items()]
        return [value.signature, value.instructions, repr(fields)]
    if isinstance(value, dspy.BaseLM):
        text, stable = identity_of(value)
        if not stable:
            unstable.append(True)
        return text
    if isinstance(value, list | tuple) and any(isinstance(item, dspy.Module) for item in value):
        return [type(item).__qualname__ for item in value]
    try:
        return wire_json.encode(to_plain(value)).hex() if type(value) not in _SCALARS else value
    except BridgeError:  # a function, a tool, a retriever: this very object
        unstable.append(True)
        number = number_of(value)
        return f"object {id(value) if number is None else number}"


__all__ = ["Content"]
