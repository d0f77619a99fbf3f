"""What an answer cost, where DSPy's bundled price list knows the model."""

from typing import Any

_KNOWN_FREE = ("offline/",)


def price(lm: Any, response: Any) -> float | None:
    """Return US dollars, or ``None`` when the model's price is not known. Never fails, never goes to the network."""
    if lm.model.startswith(_KNOWN_FREE):
        return 0.0
    try:
        from dspy.clients.costs import estimate_cost

        provider, _, model = lm.model.partition("/")
        cost, _details = estimate_cost(
            response, provider=provider, requested_model=model or provider, request=None, namespaces=None
        )
    except Exception:  # advisory: a price list that cannot be read must not fail an answer that was paid for
        return None
    return cost


__all__ = ["price"]
