"""The LM and the adapter of a call, and what tells them from others."""

import hashlib
import itertools
import json
import weakref
from typing import Any

import dspy

from python_bridge.engine.lms.lean import LeanLM
from python_bridge.engine.lms.registry import lean

_VERSION = f"|dspy {dspy.__version__}"
_OFFLINE = "python_bridge.engine.offline"
_SCALARS = (str, int, float, bool, bytes, type(None))
_BESIDE = frozenset({"cache", "num_retries", "retries", "request_timeout", "_warned_zero_temp_rollout"})
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


def number_for(thing: Any) -> int:
    """Return `number_of`; where none can be kept, one that nothing had: two looks at the thing do not agree then."""
    number = number_of(thing)
    return next(_PROCESS) if number is None else number


def on_loop(lm: Any) -> Any:
    """Return a plain `dspy.LM` as one that stays on the loop, where that changes nothing else; others as they are."""
    if type(lm) is not dspy.LM or lm.cache or lm.callbacks or lm._async_engine_spec is None:
        return lm
    made = _leans.get(lm)
    if made is None or made.model != lm.model or made.kwargs != lm.kwargs:
        made = _leans[lm] = lean(lm)
    return made


def identity_of(lm: Any) -> tuple[str, bool]:
    """Return what tells an LM from others, and whether that holds in other processes. Keys stay out of it."""
    if lm is None:
        return "none", True
    mark = [(name, value if type(value) in _SCALARS else repr(value)) for name, value in lm.kwargs.items()]
    if type(lm) is not LeanLM:  # which nobody else has, and which are made anew when anything but parameters changes
        mark += _attributes(lm)
    found = _identities.get(lm)
    if found is None or found[0] != mark:
        found = _identities[lm] = mark, _identity(lm)
    return found[1]


def adapter_text(adapter: Any) -> str:
    """Return what tells an adapter of the caller's own from others, while this process lives."""
    return f"{type(adapter).__qualname__} {number_for(adapter)} {_attributes(adapter)}"


def surroundings() -> tuple[str, bool]:
    """Return what else an answer may depend on: DSPy's version, which makes the prompts, and its retriever."""
    retriever: Any = dspy.settings.get("rm")
    return (_VERSION, True) if retriever is None else (f"{_VERSION}|rm {number_for(retriever)}", False)


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    """What an object was given beside other objects. The caller may change it at any time."""
    found = vars(thing).items()
    return [(name, value) for name, value in found if type(value) in _SCALARS and name not in _BESIDE]


def _identity(lm: Any) -> tuple[str, bool]:
    engine = getattr(lm, "engine", None)
    url = getattr(getattr(lm, "wire", None), "url", None)
    parts: list[Any] = [type(lm).__qualname__, getattr(lm, "model", ""), _plain(getattr(lm, "kwargs", {})), url]
    parts.append(_attributes(lm))
    own = getattr(engine, "_responder", None)
    stable = isinstance(engine, str) or url is not None or type(own).__module__.startswith(_OFFLINE)
    if not stable:  # an engine of the caller's own: this very object
        parts.append(number_for(lm if engine is None else engine))
    return json.dumps(parts, sort_keys=True, default=repr), stable


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        name: hashlib.sha256(str(value).encode()).hexdigest()[:16] if "key" in name or "token" in name[:5] else value
        for name, value in kwargs.items()
    }


__all__ = ["adapter_text", "identity_of", "number_for", "number_of", "on_loop", "surroundings"]
