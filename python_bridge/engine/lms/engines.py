"""Which engine and which wire speak to which provider."""

import urllib.request
from typing import Any
from urllib.parse import urlsplit

from python_bridge.engine.compat.features import has_engines, require
from python_bridge.engine.lms.answers import Wire
from python_bridge.engine.lms.chat_wire import ChatWire
from python_bridge.settings import LmSettings

OPENAI = "https://api.openai.com/v1"


def engines_for(settings: LmSettings, key: str | None) -> tuple[Any, Any]:
    """Return DSPy's synchronous and asynchronous engine for one LM; each holds its own connections.

    Both are ``None`` where DSPy has no engines: LMs then speak OpenAI's API or not at all.

    Raises:
        BridgeError: `unavailable` for another provider where DSPy has no engines.
    """
    provider = settings.model.partition("/")[0]
    if not has_engines():
        if provider != "openai":
            require("engines", f"the model {settings.model!r}")
        return None, None
    from dspy.clients.engines.lm15_engine import AsyncLM15Engine, LM15Engine
    from dspy.lm15 import RouterConfig, Timeouts

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


def wire_for(settings: LmSettings, key: str | None) -> Wire | None:
    """Return our own wire where the model is behind OpenAI's API, else ``None``: DSPy's engine is used then.

    A proxy that the environment prescribes is for DSPy's engine too.

    Raises:
        BridgeError: `unavailable` for a proxy where DSPy has no engines.
    """
    if settings.model.partition("/")[0] != "openai":
        return None
    url = settings.api_base or OPENAI
    if not _is_proxied(url):
        return ChatWire(settings.model, url, key, settings.timeout)
    require("engines", f"the proxy to {urlsplit(url).hostname}")
    return None


def wire_of(model: str, engine: Any) -> Wire:
    """Return the wire over an asynchronous engine of `dspy.lm15`, or over one of this process where DSPy has none."""
    if has_engines():
        from python_bridge.engine.lms.lm15_wire import Lm15Wire

        return Lm15Wire(model, engine)
    from python_bridge.engine.lms.local_wire import LocalWire

    return LocalWire(model, engine)


def _is_proxied(url: str) -> bool:
    parts = urlsplit(url)
    proxies = urllib.request.getproxies()
    return bool(proxies.get(parts.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(parts.netloc)


__all__ = ["OPENAI", "engines_for", "wire_for", "wire_of"]
