"""What a model can do, which decides how adapters ask it."""

from dataclasses import dataclass
from typing import Any

import dspy

from python_bridge.engine.compat.features import has_engines


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What adapters ask of a model."""

    function_calling: bool = False
    reasoning: bool = False
    response_schema: bool = False
    params: frozenset[str] = frozenset()


def known_capabilities(model: str) -> Capabilities:
    """Return what DSPy's list of models says; an unknown model can nothing beyond text."""
    try:
        if not has_engines():
            return declared_capabilities(dspy.LM(model, cache=False))
        from dspy.clients.capabilities import capabilities

        found = capabilities(dspy.LM(model, engine="lm15", cache=False))
    except Exception:  # a model that DSPy does not route: asked for in plain text only
        return Capabilities()
    return Capabilities(found.function_calling, found.reasoning, found.response_schema, frozenset(found.params))


def declared_capabilities(engine: Any) -> Capabilities:
    """Return what an engine object says of itself."""
    return Capabilities(
        bool(getattr(engine, "supports_function_calling", False)),
        bool(getattr(engine, "supports_reasoning", False)),
        bool(getattr(engine, "supports_response_schema", False)),
        frozenset(getattr(engine, "supported_params", ()) or ()),
    )


__all__ = ["declared_capabilities", "known_capabilities"]
