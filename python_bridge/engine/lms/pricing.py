"""What an answer cost, where DSPy's bundled price list knows the model. Never fails, never goes to the network."""

from functools import lru_cache
from typing import Any

from python_bridge.engine.compat.features import has_engines
from python_bridge.engine.compat.lm15 import lm15

_FREE = ("offline/", "scripted/")


def price(model: str, response: Any) -> float | None:
    """Return US dollars for a response of `dspy.lm15`, or ``None`` when the model's price is not known."""
    if model.startswith(_FREE):
        return 0.0 if model.startswith("offline/") else None
    provider, _, name = model.partition("/")
    return _estimate(response, provider, name or provider) if _is_priced(provider, response.model, name) else None


def price_tokens(provider: str, model: str, requested: str, usage: dict[str, Any]) -> float | None:
    """Return US dollars for the tokens of a chat completion, or ``None`` when the model's price is not known."""
    if not has_engines() or not _is_priced(provider, model, requested):
        return None
    details = usage.get("prompt_tokens_details") or {}
    tokens = lm15.Usage(
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cache_read_tokens=details.get("cached_tokens"),
    )
    message = lm15.Message.assistant("-")
    response = lm15.Response(id=None, model=model, message=message, finish_reason="stop", usage=tokens)
    return _estimate(response, provider, requested)


@lru_cache(maxsize=256)
def _is_priced(provider: str, model: str, requested: str) -> bool:
    try:
        from dspy.clients.model_metadata import model_info

        return bool(model_info(provider, model) or model_info(provider, requested))
    except Exception:  # advisory: a price list that cannot be read must not fail an answer that was paid for
        return False


def _estimate(response: Any, provider: str, requested: str) -> float | None:
    try:
        from dspy.clients.costs import estimate_cost

        return estimate_cost(response, provider=provider, requested_model=requested)[0]
    except Exception:  # as above
        return None


__all__ = ["price", "price_tokens"]
