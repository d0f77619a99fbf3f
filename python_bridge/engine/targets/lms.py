"""The LM of a call of a module instance, and what tells it from others."""

import hashlib
import itertools
import json
import weakref
from typing import Any

import dspy

from python_bridge.engine.lms.lean import LeanLM
from python_bridge.engine.lms.registry import lean

_OFFLINE = "python_bridge.engine.offline"
_PROCESS = itertools.count(1)
_numbers: "weakref.WeakKeyDictionary[Any, int]" = weakref.WeakKeyDictionary()
_identities: "weakref.WeakKeyDictionary[Any, tuple[Any, tuple[str, bool]]]" = weakref.WeakKeyDictionary()
_leans: "weakref.WeakKeyDictionary[Any, LeanLM]" = weakref.WeakKeyDictionary()


def number_of(thing: Any) -> int | None:
    """Return a number that no other object of this process has or had; ``None`` where none can be kept."""
    try:
        number = _numbers.get(thing)
        if number is None:
            number = _numbers[thing] = next(_PROCESS)
    except TypeError:
        return None
    return number


def on_loop(lm: Any) -> Any:
    """Return a plain `dspy.LM` as one that stays on the loop, where that changes nothing else; others as they are."""
    if type(lm) is not dspy.LM or lm.cache or lm.callbacks or lm._async_engine_spec is None:
        return lm
    if (made := _leans.get(lm)) is None or made.kwargs != lm.kwargs:
        made = _leans[lm] = lean(lm)
    return made


def identity_of(lm: Any) -> tuple[str, bool]:
    """Return what tells an LM from others, and whether that holds in other processes. Keys stay out of it."""
    if lm is None:
        return "none", True
    kwargs = tuple(getattr(lm, "kwargs", {}).items())
    found = _identities.get(lm)
    if found is None or found[0] != kwargs:
        found = _identities[lm] = kwargs, _identity(lm)
    return found[1]


def _identity(lm: Any) -> tuple[str, bool]:
    engine = getattr(lm, "engine", None)
    url = getattr(getattr(lm, "wire", None), "url", None)
    parts: list[Any] = [type(lm).__qualname__, getattr(lm, "model", ""), _plain(getattr(lm, "kwargs", {})), url]
    own = getattr(engine, "_responder", None)
    stable = isinstance(engine, str) or url is not None or type(own).__module__.startswith(_OFFLINE)
    if not stable:  # an engine of the caller's own: this very object
        parts.append(number_of(lm if engine is None else engine))
    return json.dumps(parts, sort_keys=True, default=repr), stable


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: hashlib.sha256(str(value).encode()).hexdigest()[:16] if "key" in name or "token" in name[:5] else value
        for name, value in kwargs.items()
    }


__all__ = ["identity_of", "number_of", "on_loop"]
