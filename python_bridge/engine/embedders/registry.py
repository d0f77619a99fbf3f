"""The embedders that a worker knows, by name."""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy

from python_bridge.engine.embedders.hashed import DIMENSIONS, MODEL, embed
from python_bridge.engine.embedders.remote import RemoteEmbedder
from python_bridge.engine.failures import clean
from python_bridge.engine.secrets import remember
from python_bridge.errors import BridgeError
from python_bridge.settings import EmbedderSettings, Settings

Embed = Callable[[Sequence[str]], Awaitable[numpy.ndarray]]
"""Texts → float32 vectors, one row each."""


class EmbedderRegistry:
    """Makes embedders of the settings, once each, when they are first asked for.

    Args:
        settings: its `embedders`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.embedders
        self._remote: dict[str, RemoteEmbedder] = {}

    def get(self, name: str | None, dimensions: int | None = None) -> Embed:
        """Return the embedder called `name`; ``None`` and ``"offline/hashed"`` need no entry.

        Args:
            dimensions: of the vectors of ``"offline/hashed"`` where its table does not say.

        Raises:
            BridgeError: `not_found` for other names, `lm_error` when the key is not in the environment.
        """
        settings = self._settings.get(name or MODEL)
        if settings is None and name in (None, MODEL):
            settings = EmbedderSettings(model=MODEL)
        if settings is None:
            known = ", ".join(repr(known) for known in sorted(self._settings)) or "none"
            raise BridgeError(
                "not_found",
                f"there is no embedder named {name!r} in this worker's settings (known: {known}); add a table "
                f"[embedders.{name}] with `model`, or use {MODEL!r}",
                details={"embedder": name, "known": sorted(self._settings)},
            )
        if settings.model == MODEL:
            return _hashed(settings.dimensions or dimensions or DIMENSIONS)
        return self._made(str(name), settings).embed

    async def close(self) -> None:
        """Close the connections of every embedder."""
        for embedder in self._remote.values():
            await embedder.aclose()

    def _made(self, name: str, settings: EmbedderSettings) -> RemoteEmbedder:
        if (known := self._remote.get(name)) is not None:
            return known
        if settings.model.partition("/")[0] != "openai":
            raise _unusable(
                name, "its model must be 'openai/…' (`api_base`: any server of that API) or 'offline/hashed'"
            )
        try:
            return self._remote.setdefault(name, RemoteEmbedder(settings, _key(name, settings)))
        except ValueError as error:
            raise _unusable(name, clean(str(error))) from error


def _hashed(dimensions: int) -> Embed:
    async def run(texts: Sequence[str]) -> numpy.ndarray:
        return embed(texts, dimensions)

    return run


def _key(name: str, settings: EmbedderSettings) -> str | None:
    if settings.api_key_env is None:
        return None
    if (key := os.environ.get(settings.api_key_env)) is None:
        raise BridgeError(
            "lm_error",
            f"the embedder {name!r} needs the environment variable {settings.api_key_env}, and the worker has none; "
            "set it where the worker starts",
            details={"embedder": name, "code": "not_configured"},
        )
    return remember(key)


def _unusable(name: str, reason: str) -> BridgeError:
    details: dict[str, Any] = {"embedder": name, "code": "configuration"}
    return BridgeError("lm_error", f"the embedder {name!r} cannot be made of its settings: {reason}", details=details)


__all__ = ["Embed", "EmbedderRegistry"]
