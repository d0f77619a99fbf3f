"""LMs with other parameters, made once each: a copy of an LM costs more than all that a call does beside asking it."""

import weakref
from collections.abc import Mapping
from typing import Any

from cachetools import LRUCache

from python_bridge.wire import json as wire_json

MAX_VARIANTS = 64

_made: "weakref.WeakKeyDictionary[Any, LRUCache[bytes, tuple[str, dict[str, Any], Any]]]" = weakref.WeakKeyDictionary()


def with_params(lm: Any, params: Mapping[str, Any]) -> Any:
    """Return `lm`, or one like it with `params` of `check_params`; the latest `MAX_VARIANTS` of each LM are kept.

    A variant lives no longer than its LM, and is made anew when the LM's own parameters were changed.
    """
    if not params:
        return lm
    variants = _made.get(lm)
    if variants is None:
        variants = _made[lm] = LRUCache(MAX_VARIANTS)
    key = wire_json.encode(params)
    found = variants.get(key)
    if found is None or found[0] != lm.model or found[1] != lm.kwargs:
        found = variants[key] = lm.model, dict(lm.kwargs), lm.copy(**params)
    return found[2]


__all__ = ["MAX_VARIANTS", "with_params"]
