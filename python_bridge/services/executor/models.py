"""Programs by model id."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

from cachetools import LRUCache

from python_bridge.errors import BridgeError

_MAX_KEPT = 64


class HasGet(Protocol):
    """A map of programs, or what knows when they change."""

    def get(self, model_id: str, /) -> Any: ...


Source = HasGet | Callable[[str], Any]
"""Gives the program of a model id, an instance or program JSON; ``None`` when there is none."""


class Models:
    """What model ids stand for. Safe for threads.

    Args:
        source: what has `get` is asked at every execution, so that changes are seen; a function may have to load, and
            what it gave is kept until `forget`.
    """

    def __init__(self, source: Source | None) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[str, Any] = LRUCache(_MAX_KEPT)
        self._get: Callable[[str], Any] = lambda _model_id: None
        if source is None:
            return
        get: Any = getattr(source, "get", None)
        self._get = get if get is not None else lambda model_id: self._load(cast("Any", source), model_id)

    def get(self, model_id: str) -> Any:
        """
        Raises:
            BridgeError: `not_found`; what is wrong with the program.
        """
        if (found := self._get(model_id)) is None:
            raise BridgeError("not_found", f"Model {model_id} not found in registry", details={"model": model_id})
        return found

    def forget(self) -> None:
        """Load each of them anew when it is next asked for."""
        with self._lock:
            self._kept.clear()

    def _load(self, source: Callable[[str], Any], model_id: str) -> Any:
        with self._lock:
            found = self._kept.get(model_id)
        if found is None and (found := source(model_id)) is not None:
            with self._lock:
                self._kept[model_id] = found
        return found


__all__ = ["HasGet", "Models", "Source"]
