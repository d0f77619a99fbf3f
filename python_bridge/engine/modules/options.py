"""Options of module kinds: typed, allow-listed, all problems at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from python_bridge.engine.lms.params import LM_PARAMS, check_params, option_error


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its default, the test of a value, and the words for what fits."""

    default: Any
    fits: Callable[[Any], bool]
    words: str


def whole(default: int | None, low: int, high: int) -> Option:
    """An option that is a whole number within bounds."""

    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Option(default, fits, f"a whole number from {low} to {high}")


def number(default: float | None) -> Option:
    """An option that is a number."""
    return Option(default, lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number")


def text(default: str | None) -> Option:
    """An option that is text."""
    return Option(default, lambda value: isinstance(value, str) and bool(value), "a text")


def flag(default: bool) -> Option:
    """An option that is true or false."""
    return Option(default, lambda value: isinstance(value, bool), "true or false")


def read_options(
    config: Mapping[str, Any], options: Mapping[str, Option], path: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a program's `config` into the module's options, with defaults, and LM parameters.

    Raises:
        BridgeError: `invalid_input` that names every wrong option.
    """
    problems: list[dict[str, str]] = []
    chosen = {name: option.default for name, option in options.items()}
    params: dict[str, Any] = {}
    for name, value in config.items():
        if name in options:
            if value is not None and not options[name].fits(value):
                problems.append(
                    {"path": f"{path}.{name}", "message": f"must be {options[name].words}, not {value!r:.80}"}
                )
            elif value is not None:
                chosen[name] = value
        elif name in LM_PARAMS:
            params[name] = value
        else:
            known = ", ".join([*options, *LM_PARAMS])
            problems.append({"path": f"{path}.{name}", "message": f"is not an option of this kind; known are {known}"})
    if problems:
        raise option_error(problems)
    return chosen, check_params(params, path)


__all__ = ["Option", "flag", "number", "read_options", "text", "whole"]
