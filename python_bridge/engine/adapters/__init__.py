"""DSPy's adapters by name."""

from functools import cache
from typing import Any

import dspy

from python_bridge.errors import BridgeError

ADAPTERS = {"chat": "ChatAdapter", "json": "JSONAdapter", "xml": "XMLAdapter"}


@cache
def adapter(name: str) -> Any:
    """Return the one adapter of that name; adapters keep no state between calls.

    Raises:
        BridgeError: `invalid_input` for unknown names.
    """
    if name not in ADAPTERS:
        raise BridgeError("invalid_input", f"the adapter {name!r} is not known; use one of {', '.join(ADAPTERS)}")
    return getattr(dspy, ADAPTERS[name])()


__all__ = ["ADAPTERS", "adapter"]
