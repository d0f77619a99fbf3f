"""LMs with other parameters, made once each: a copy of an LM costs more than all that a call does beside asking it."""

import weakref
from collections.abc import Mapping
from typing import Any

from python_bridge.engine.lms.lean import LeanLM
from python_bridge.wire import json as wire_json

MAX_VARIANTS = 64

_made: "weakref.WeakKeyDictionary[Any, dict[bytes, tuple[str, dict[str, Any], Any]]]" = weakref.WeakKeyDictionary()


def with_params(lm: Any, params: Mapping[str, Any]) -> Any:
    """Return `lm`, or one like it with `params` of `check_params`. Safe for threads.

    `MAX_VARIANTS` of each LM of our own are kept, as long as it lives and its own parameters stay as they are; an LM
    of the caller's, which may change in other ways, is copied for each call.
    """
    if not params:
        return lm
    if type(lm) is not LeanLM:
        return lm.copy(**params)
    variants = _made.get(lm)
    if variants is None or len(variants) >= MAX_VARIANTS:
        variants = _made[lm] = {}
    key = wire_json.encode(params)
    found = variants.get(key)
    if found is None or found[0] != lm.model or found[1] != lm.kwargs:
        found = variants[key] = lm.model, dict(lm.kwargs), lm.copy(**params)
    return found[2]


__all__ = ["MAX_VARIANTS", "with_params"]
