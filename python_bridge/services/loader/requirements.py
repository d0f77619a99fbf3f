"""Whether what a program needs is installed here."""

import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from python_bridge.services.loader.yaml_lines import Place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PART = re.compile(r"\s*(==|!=|>=|<=|<|>|~=)\s*([0-9]{1,9}(?:\.[0-9]{1,9}){0,9})(\.\*)?\s*")
_BEFORE = re.compile(r"\d+(?:\.\d+)*[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)", re.IGNORECASE)


def check_dependencies(dependencies: Any, place: Place) -> dict[str, str]:
    """Return the installed version of each dependency.

    Args:
        dependencies: package → condition (``">=3.4,<4"``, ``"==3.*"``, ``""`` for any). A pre-release comes before
            its release. The package ``python`` is Python itself.

    Raises:
        BridgeError: `invalid_request` that names the file, the line and what is wrong: not installed, or another
            version, with the line to run.
    """
    if not isinstance(dependencies, Mapping):
        raise place.fail("dependencies", "must be a map of packages to versions, as dspy: '>=3.4,<4'")
    found: dict[str, str] = {}
    for name, condition in dependencies.items():  # pyright: ignore[reportUnknownVariableType]
        member = f"dependencies.{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise place.fail(member, "is no name of a package")
        if not isinstance(condition, str):
            raise place.fail(member, f"must be a text, as '>=3.4,<4', it is {condition!r:.80}; put it in quotes")
        text = condition
        conditions = read_conditions(text, member, place)
        try:
            installed = platform.python_version() if name == "python" else version(name)
        except PackageNotFoundError:
            raise place.fail(member, f"is not installed; run: pip install '{name}{text}'") from None
        if not fulfils(installed, conditions):
            raise place.fail(member, f"must be {text}, but {installed} is installed; run: pip install '{name}{text}'")
        found[name] = installed
    return found


Condition = tuple[str, str, bool]
"""An operator, the numbers of a version, and whether any numbers may follow them."""


def fulfils(installed: str, conditions: Iterable[Condition]) -> bool:
    """Whether a version fulfils all conditions."""
    return all(_holds(installed, *condition) for condition in conditions)


def read_conditions(text: str, member: str, place: Place) -> list[Condition]:
    """
    Raises:
        BridgeError: `invalid_request` that names the file and the line.
    """
    parts = text.split(",") if text.strip() else []
    found = [_PART.fullmatch(part) for part in parts]
    conditions = [(match[1], match[2], match[3] is not None) for match in found if match is not None]
    senseless = any(
        (operator == "~=" and "." not in wanted) or (any_after and operator not in ("==", "!="))
        for operator, wanted, any_after in conditions
    )
    if senseless or not all(found):
        raise place.fail(member, f"has a condition that cannot be read: {text!r:.80}; write it as '>=3.4,<4'")
    return conditions


def _holds(installed: str, operator: str, wanted: str, any_after: bool) -> bool:
    ours, theirs = _numbers(installed), _numbers(wanted)
    if any_after:
        return (ours[: len(theirs)] == theirs) is (operator == "==")
    size = max(len(ours), len(theirs))
    left, right = ours + (0,) * (size - len(ours)), theirs + (0,) * (size - len(theirs))
    whole = _BEFORE.match(installed) is None
    reached = left > right or (left == right and whole)
    tests = {
        "==": left == right and whole,
        "!=": left != right or not whole,
        ">=": reached,
        "~=": reached and ours[: len(theirs) - 1] == theirs[:-1],
        "<=": left <= right,
        "<": left < right,
        ">": left > right,
    }
    return tests[operator]


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


__all__ = ["Condition", "check_dependencies", "fulfils", "read_conditions"]
