"""DSPy's adapters by name."""

from functools import cache
from typing import Any

from python_bridge.errors import BridgeError

ADAPTERS = ("chat", "json", "xml")


@cache
def adapter(name: str) -> Any:
    """Return the one adapter of that name; adapters keep nothing of a call.

    Raises:
        BridgeError: `invalid_input` for unknown names.
    """
    from python_bridge.engine.adapters.memo import MemoChatAdapter, MemoJSONAdapter, MemoXMLAdapter

    classes = {"chat": MemoChatAdapter, "json": MemoJSONAdapter, "xml": MemoXMLAdapter}
    if name not in classes:
        raise BridgeError("invalid_input", f"the adapter {name!r} is not known; use one of {', '.join(ADAPTERS)}")
    return classes[name]()


__all__ = ["ADAPTERS", "adapter"]
