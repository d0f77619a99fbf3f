"""The LMs that a worker knows, by name."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import dspy

from python_bridge.engine.failures import clean
from python_bridge.engine.lms.engines import engines_for, wire_for
from python_bridge.engine.lms.lean import LeanLM
from python_bridge.engine.offline import MODEL as OFFLINE
from python_bridge.engine.offline import build as build_offline
from python_bridge.engine.secrets import remember
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings


class LmRegistry:
    """Makes LMs of the settings, once each, when they are first asked for.

    Args:
        settings: its `lms` and `default_lm`.
        given: ready LMs by name, for suites and embedding; they win over the settings.
        ambient: gives the LM of those who name none, before the settings' default; ``None`` for none.

    Raises:
        BridgeError: `invalid_request` when one of `given` is no LM.
    """

    def __init__(
        self,
        settings: Settings,
        given: Mapping[str, dspy.BaseLM] | None = None,
        ambient: Callable[[], Any] | None = None,
    ) -> None:
        self._settings = settings
        self._ambient = ambient
        self._lms: dict[str, Any] = {name: _ready(name, lm) for name, lm in (given or {}).items()}

    @property
    def default_name(self) -> str:
        """Name of the LM of programs and calls that name none."""
        return self._settings.default_lm

    def __contains__(self, name: str) -> bool:
        return name in self._lms or name in self._settings.lms

    @property
    def names(self) -> list[str]:
        """Names that `get` knows, sorted."""
        return sorted({*self._settings.lms, *self._lms})

    def default(self) -> Any:
        """Return the LM of programs and calls that name none.

        Raises:
            BridgeError: see `get`.
        """
        found = None if self._ambient is None else self._ambient()
        return self.get(self.default_name) if found is None else found

    def get(self, name: str) -> Any:
        """Return the LM called `name`; ``"offline/extractive"`` needs no entry.

        Raises:
            BridgeError: `not_found` for other names, `lm_error` when the key is not in the environment.
        """
        if (known := self._lms.get(name)) is not None:
            return known
        settings = self._settings.lms.get(name)
        if settings is None and name == OFFLINE:
            settings = LmSettings(model=OFFLINE)
        if settings is None:
            raise self._unknown(name)
        try:
            return self._lms.setdefault(name, _make(name, settings))
        except BridgeError:
            raise
        except Exception as error:  # dspy, lm15 and the URL each have errors of their own for settings that cannot be
            raise BridgeError(
                "lm_error",
                f"the LM {name!r} cannot be made of its settings: {clean(str(error))}",
                details={"lm": name, "code": "configuration"},
            ) from error

    def describe(self) -> list[dict[str, Any]]:
        """Return `{name, model, default, cache}` of each LM that `get` knows; none is made, and no key is looked at."""
        return [self._described(name) for name in sorted({*self.names, OFFLINE})]

    def _described(self, name: str) -> dict[str, Any]:
        settings = self._settings.lms.get(name) or LmSettings(model=OFFLINE)
        model = self._lms[name].model if name in self._lms else settings.model
        return {"name": name, "model": model, "default": name == self.default_name, "cache": settings.cache}

    def _unknown(self, name: str) -> BridgeError:
        names = ", ".join(repr(known) for known in self.names) or "none"
        return BridgeError(
            "not_found",
            f"there is no LM named {name!r} in this worker's settings (known: {names}); add a table [lms.{name}] with "
            f"`model`, or use {OFFLINE!r}",
            details={"lm": name, "known": self.names},
        )

    async def close(self) -> None:
        """Close the connections of every LM."""
        for lm in self._lms.values():
            if isinstance(lm, LeanLM):
                await lm.wire.aclose()


def _ready(name: str, lm: Any) -> Any:
    """A given LM, on the loop where it can be."""
    if not isinstance(lm, dspy.BaseLM):
        text = f"the LM {name!r} must be a dspy.LM, as dspy.LM('openai/gpt-4o-mini'); it is {type(lm).__name__}"
        raise BridgeError("invalid_request", text)
    return lean(lm) if isinstance(lm, dspy.LM) and getattr(lm, "_async_engine_spec", None) is not None else lm


def _make(name: str, settings: LmSettings) -> LeanLM:
    options: dict[str, Any] = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    if settings.model == OFFLINE:
        return lean(build_offline(**options), settings)
    key = key_of(name, settings)
    for variable, value in os.environ.items():
        if variable.endswith("_API_KEY"):  # DSPy's own clients read the variable of their provider by themselves
            remember(value)
    engine, async_engine = engines_for(settings, key)
    return LeanLM(
        settings.model,
        engine=engine,
        async_engine=async_engine,
        wire=wire_for(settings, key),
        known=True,
        retries=settings.retries,
        timeout=settings.timeout,
        **options,
    )


def key_of(name: str, settings: LmSettings) -> str | None:
    """Return the key of an LM, from the environment.

    Without `api_key_env` it is OPENAI_API_KEY for OpenAI itself, or for the server that OPENAI_BASE_URL names in its
    place; a server of the settings' own never gets a key that is not meant for it.

    Raises:
        BridgeError: `lm_error` when the variable that the settings name is missing.
    """
    if settings.api_key_env is None:
        base = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or None
        mine = settings.model.startswith("openai/") and settings.api_base == base
        return remember(os.environ.get("OPENAI_API_KEY") or None) if mine else None
    if (key := os.environ.get(settings.api_key_env)) is None:
        raise BridgeError(
            "lm_error",
            f"the LM {name!r} needs the environment variable {settings.api_key_env}, and the worker has none; set it "
            "where the worker starts",
            details={"lm": name, "code": "not_configured"},
        )
    return remember(key)


def lean(lm: dspy.LM, settings: LmSettings | None = None) -> LeanLM:
    """Return `lm` as one that stays on the loop: the same engines and parameters.

    Raises:
        BridgeError: `invalid_request` when it has no asynchronous engine object.
    """
    if isinstance(lm, LeanLM):
        return lm
    if lm._async_engine_spec is None:
        raise BridgeError("invalid_request", f"the LM {lm.model!r} has no async_engine; make it with one")
    retries = lm.num_retries if settings is None else settings.retries
    timeout = None if settings is None else settings.timeout
    remember(str(lm.kwargs.get("api_key") or ""))
    return LeanLM(
        lm.model, engine=lm.engine, async_engine=lm._async_engine_spec, retries=retries, timeout=timeout, **lm.kwargs
    )


__all__ = ["LmRegistry", "key_of", "lean"]
