"""What callers give an executor in Python: checked once, with errors that name the argument."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from python_bridge.engine.interface import EventSink
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import ExecutionLimits
from python_bridge.services.executor.fallback import PARTIAL, STALE, FallbackLM
from python_bridge.services.executor.options import CacheOptions
from python_bridge.settings import SettingsError

MAX_SECONDS = 1e9  # some thirty years: what clocks and waits of the system take
_TEXT = (str, "text")
_KINDS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("lm", "adapter", "tenant", "session_id", "client_request_id"), _TEXT),
    "config": (Mapping, "a map of LM parameters"),
    "use_cache": (bool, "true or false"),
    "limits": ((Mapping, ExecutionLimits), "ExecutionLimits, or a map of its fields"),
    "timeout": (object, ""),
    "fallback": (object, ""),
    "emit": (object, ""),
}
_KNOWN = ", ".join(sorted(_KINDS))
_LIMITS = tuple(item.name for item in fields(ExecutionLimits))


def check_options(options: Mapping[str, Any]) -> None:
    """
    Raises:
        BridgeError: `invalid_request` for an unknown option, `invalid_input` for a wrong value.
    """
    for name, value in options.items():
        known = _KINDS.get(name)
        if known is None:
            raise BridgeError("invalid_request", f"{name!r} is no option of an execution; known are {_KNOWN}")
        if value is not None and not isinstance(value, known[0]):
            raise BridgeError("invalid_input", f"{name} must be {known[1]}, it is {value!r:.80}")
    if options.get("emit") is not None and not callable(options["emit"]):
        raise BridgeError("invalid_input", f"emit must be a function of one event, it is {options['emit']!r:.80}")


def read_seconds(value: Any) -> float:
    """
    Raises:
        BridgeError: `invalid_input`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SECONDS:
        raise BridgeError("invalid_input", f"timeout must be a number of seconds above 0, it is {value!r:.80}")
    return value


def read_limits(given: Any) -> ExecutionLimits:
    """
    Raises:
        BridgeError: `invalid_input`.
    """
    if isinstance(given, Mapping):
        if unknown := [name for name in cast("Mapping[Any, Any]", given) if name not in _LIMITS]:
            raise BridgeError("invalid_input", f"limits has no {unknown[0]!r:.80}; known are {', '.join(_LIMITS)}")
        given = ExecutionLimits(**cast("Mapping[str, Any]", given))
    for name in _LIMITS:
        value: Any = getattr(given, name)
        kinds = (int, float) if name == "max_cpu_seconds" else (int,)
        if value is not None and (type(value) not in kinds or not value >= 0):
            words = "a number of seconds" if name == "max_cpu_seconds" else "a whole number"
            raise BridgeError("invalid_input", f"limits.{name} must be {words} from 0, it is {value!r:.80}")
    return given


def read_fallback(given: Any) -> tuple[Any, ...]:
    """
    Raises:
        BridgeError: `invalid_input`.
    """
    if given is None:
        return ()
    choices = cast("Iterable[Any]", given) if isinstance(given, list | tuple) else (given,)
    return tuple(_read_choice(choice) for choice in choices)


def _read_choice(choice: Any) -> Any:
    if choice in (STALE, PARTIAL):
        return choice
    if isinstance(choice, str) and choice.startswith("lm:") and choice != "lm:":
        return FallbackLM(choice[3:])
    is_program = isinstance(choice, Mapping | Path | bytes) or hasattr(choice, "named_predictors")
    if is_program or (isinstance(choice, str) and choice not in ("", "lm:")):
        return cast("Any", choice)
    text = 'fallback takes "lm:NAME", a program, a model id, "stale" and "partial"'
    raise BridgeError("invalid_input", f"{text}, not {choice!r:.80}")


def read_emit(given: Any) -> EventSink | None:
    """Return what takes stream events, whether it is asynchronous or a plain function."""
    if given is None:
        return None

    async def emit(event: dict[str, Any]) -> None:
        taken = given(event)
        if inspect.isawaitable(taken):
            await taken

    return emit


def read_items(inputs_list: Any) -> list[Any]:
    """Return the inputs of a batch, those of a generator too.

    Raises:
        BridgeError: `invalid_input` for what is no list of inputs, such as the inputs of one execution.
    """
    if inputs_list is None:
        return []
    if isinstance(inputs_list, str | bytes | Mapping) or not isinstance(inputs_list, Iterable):
        text = "inputs_list must be a list with the inputs of each execution"
        raise BridgeError("invalid_input", f"{text}, not {type(inputs_list).__name__}; for one there is execute")  # pyright: ignore[reportUnknownArgumentType]
    return list(cast("Iterable[Any]", inputs_list))


def check_settings(timeout: Any, max_retries: Any, lms: Any, models: Any, cache: CacheOptions) -> None:
    """Check what an executor is made with.

    Raises:
        SettingsError: it has a wrong value.
    """
    if timeout is not None and not _is_number(timeout, above=0, most=MAX_SECONDS):
        raise SettingsError(f"timeout must be a number of seconds above 0, or None, it is {timeout!r:.80}")
    if type(max_retries) is not int or max_retries < 0:
        raise SettingsError(f"max_retries must be a whole number from 0, it is {max_retries!r:.80}")
    if lms is not None and not isinstance(lms, Mapping):
        raise SettingsError(f"lms must be a map of names to LMs, as {{'default': dspy.LM(…)}}, it is {lms!r:.80}")
    if models is not None and not callable(models) and not hasattr(models, "get"):
        raise SettingsError(f"models must be a map of programs, or a function, it is {models!r:.80}")
    for name in ("max_bytes", "max_entries"):
        if type(value := getattr(cache, name)) is not int or value < 0:
            raise SettingsError(f"{name} of the cache must be a whole number from 0, it is {value!r:.80}")
    if not _is_number(cache.ttl, above=-1, most=float("inf")) or cache.ttl < 0:
        raise SettingsError(f"ttl of the cache must be a number of seconds from 0, it is {cache.ttl!r:.80}")


def _is_number(value: Any, *, above: float, most: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and above < value <= most


__all__ = [
    "MAX_SECONDS",
    "check_options",
    "check_settings",
    "read_emit",
    "read_fallback",
    "read_items",
    "read_limits",
    "read_seconds",
]
