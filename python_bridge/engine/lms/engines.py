"""Which engine speaks to which provider."""

from typing import Any

from dspy.clients.engines.lm15_engine import AsyncLM15Engine, LM15Engine
from dspy.lm15 import RouterConfig, Timeouts

from python_bridge.settings import LmSettings


def engines_for(settings: LmSettings, key: str | None) -> tuple[Any, Any]:
    """Return the synchronous and the asynchronous engine for one LM; each holds its own connections."""
    provider = settings.model.partition("/")[0]
    door = {"openai": "openai-chat"}.get(provider, provider)
    timeouts = None
    if settings.timeout is not None:
        timeouts = Timeouts(read=settings.timeout, write=settings.timeout, pool=settings.timeout)
    config = RouterConfig(
        api_keys={door: key} if key is not None else None,
        base_urls={door: settings.api_base} if settings.api_base else None,
        timeouts=timeouts,
    )
    return LM15Engine(config), AsyncLM15Engine(config)


__all__ = ["engines_for"]
