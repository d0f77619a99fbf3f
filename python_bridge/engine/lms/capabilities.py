"""What a model can do, which decides how adapters ask it."""

from typing import Any

import dspy
from dspy.clients.capabilities import Capabilities, capabilities


def known_capabilities(model: str) -> Capabilities:
    """Return what DSPy's list of models says; an unknown model can nothing beyond text."""
    try:
        return capabilities(dspy.LM(model, engine="lm15", cache=False))
    except Exception:  # a model that lm15 does not route: asked for in plain text only
        return Capabilities()


def declared_capabilities(engine: Any) -> Capabilities:
    """Return what an engine object says of itself."""
    return Capabilities(
        bool(getattr(engine, "supports_function_calling", False)),
        bool(getattr(engine, "supports_reasoning", False)),
        bool(getattr(engine, "supports_response_schema", False)),
        frozenset(getattr(engine, "supported_params", ()) or ()),
    )


__all__ = ["declared_capabilities", "known_capabilities"]
