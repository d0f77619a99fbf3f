"""The LM parameters that a program or a call may set, and nothing else."""

from collections.abc import Callable, Mapping
from typing import Any

from python_bridge.errors import BridgeError


def _number(low: float, high: float) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return fits, f"a number from {low:g} to {high:g}"


def _whole(low: int, high: int) -> tuple[Callable[[Any], bool], str]:
    def fits(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return fits, f"a whole number from {low} to {high}"


def _is_stop(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and 1 <= len(texts) <= 16 and all(isinstance(text, str) and text for text in texts)


LM_PARAMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": _number(0, 2),
    "max_tokens": _whole(1, 2**31),
    "n": _whole(1, 64),
    "top_p": _number(0, 1),
    "stop": (_is_stop, "a text, or a list of up to 16 texts"),
    "seed": _whole(-(2**63), 2**63 - 1),
    "rollout_id": _whole(0, 2**53),
}
"""Name → test and the words for what fits."""


def check_params(params: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the parameters without those that are null.

    Args:
        params: as the client sent them.
        path: where they stood, for messages (`"options.config"`).

    Raises:
        BridgeError: `invalid_input` that names every wrong one in `details.problems`.
    """
    problems: list[dict[str, str]] = []
    for name, value in params.items():
        if name not in LM_PARAMS:
            known = ", ".join(LM_PARAMS)
            problems.append({"path": f"{path}.{name}", "message": f"is not a parameter; known are {known}"})
        elif value is not None and not LM_PARAMS[name][0](value):
            problems.append({"path": f"{path}.{name}", "message": f"must be {LM_PARAMS[name][1]}, not {value!r:.80}"})
    if problems:
        raise option_error(problems)
    return {name: value for name, value in params.items() if value is not None}


def option_error(problems: list[dict[str, str]]) -> BridgeError:
    """Return the `invalid_input` for wrong options: `problems` are `{path, message}`."""
    text = "; ".join(f"{item['path']} {item['message']}" for item in problems)
    return BridgeError("invalid_input", f"wrong options: {text}", details={"problems": problems})


__all__ = ["LM_PARAMS", "check_params", "option_error"]
