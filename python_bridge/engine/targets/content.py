"""What a module instance is made of, as a hash: its classes, signatures, demos, configuration and plain attributes."""

import hashlib
import itertools
from functools import cached_property
from typing import Any

import dspy

from python_bridge.engine.outputs import to_plain
from python_bridge.engine.targets.code import code_of, entry_of
from python_bridge.engine.targets.lms import identity_of, number_for, number_of
from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json

_LEFT_OUT = frozenset({"history", "callbacks", "traces", "train", "stage", "_compiled"})
_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_unread = itertools.count(1)


class Seen:
    """What was seen of a module while nothing in it changed.

    Attributes:
        digest: hash of the content.
        stable: whether the hash means the same in another process.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        try:
            self.digest, self.stable = _hash(module)
        except Exception:  # of values and classes of the caller's own: nothing else is like what cannot be read
            self.digest, self.stable = f"unread {next(_unread)}", False

    @cached_property
    def signatures(self) -> str:
        """The text of each predictor's signature."""
        return "; ".join(predictor.signature.signature for predictor in self._module.predictors())

    @cached_property
    def has_lms(self) -> bool:
        """Whether every predictor has an LM of its own."""
        return all(predictor.lm is not None for predictor in self._module.predictors())


class Content:
    """What one module is made of, looked at anew when the module was changed.

    Seen are other attributes, signatures, demos (added, taken away, replaced, or with other fields) and parameters in
    every module of the tree, and those of its LMs; not seen is a change inside of an attribute that is no list, tuple,
    map, demo, LM or module.
    Give changed values as new objects, or clear the cache.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._mark: list[Any] | None = None
        self._held: list[Any] = []
        self._seen: Seen | None = None

    def get(self) -> Seen:
        """Return what is to be seen now; the same object as before while the module is as it was."""
        look = _Look()
        look.at_module(self._module)
        if self._seen is None or look.mark != self._mark:
            self._seen = Seen(self._module)
            self._mark, self._held = look.mark, look.held  # what is held keeps its id
        return self._seen


class _Look:
    """One walk through a module: marks that differ when the module does, and the objects whose ids are among them."""

    __slots__ = ("_known", "held", "mark")

    def __init__(self) -> None:
        self.mark: list[Any] = []
        self.held: list[Any] = []
        self._known: set[int] = set()

    def at_module(self, module: Any) -> None:
        """Mark a module, with those inside of it."""
        self._known.add(id(module))
        entry = entry_of(type(module))
        self.held.append(entry)
        self.mark.append(id(entry))
        for name, value in module.__dict__.items():
            if name in _LEFT_OUT:
                continue
            self.mark.append(name)
            if type(value) is str:
                self.mark.append(value)
            else:
                self._at(value)

    def _at(self, value: Any) -> None:
        if type(value) in _SCALARS:
            self.mark += (type(value), value)  # 1 equals True, and is another value all the same
            return
        self.mark.append(id(value))
        self.held.append(value)
        if id(value) in self._known:
            return
        if isinstance(value, type):
            self.mark.append(value.__doc__)  # the instructions of a signature
        elif isinstance(value, list | tuple):
            self._known.add(id(value))
            self.mark.append(len(value))
            for item in value:
                self._at(item)
        elif isinstance(value, dict):
            self._known.add(id(value))
            self._at_fields(value)
        elif isinstance(value, dspy.Module):
            self.at_module(value)
        elif isinstance(value, dspy.Example):
            self._at_fields(value._store)
        elif isinstance(value, dspy.BaseLM):
            self.mark.append(identity_of(value))

    def _at_fields(self, fields: dict[Any, Any]) -> None:
        self.mark.append(len(fields))
        for key, item in fields.items():
            self.mark.append(key)
            self._at(item)


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
    found: list[Any] = [kind.__module__, kind.__qualname__, number_of(kind) if unstable else 0, code_of(kind)]
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
    except BridgeError:
        return _object(value, unstable)


def _object(value: Any, unstable: list[bool]) -> Any:
    """A function, a tool, a retriever: this very object; lists and maps are what they hold."""
    if isinstance(value, list | tuple):
        return [_value(item, unstable) for item in value]
    if isinstance(value, dict):
        return [[repr(name), _value(item, unstable)] for name, item in value.items()]
    unstable.append(True)
    return f"object {number_for(value)}"


__all__ = ["Content", "Seen"]
