"""Whether what a program needs is installed here."""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from python_bridge.services.loader.yaml_lines import Place

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PART = re.compile(r"\s*(==|!=|>=|<=|<|>|~=)\s*([0-9]+(?:\.[0-9]+)*)\s*")


def check_dependencies(dependencies: Any, place: Place) -> dict[str, str]:
    """Return the installed version of each dependency.

    Args:
        dependencies: package → condition (``">=3.4,<4"``, ``""`` for any).

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
        text = "" if condition is None else str(condition)  # pyright: ignore[reportUnknownArgumentType]
        conditions = _read(text, member, place)
        try:
            installed = version(name)
        except PackageNotFoundError:
            raise place.fail(member, f"is not installed; run: pip install '{name}{text}'") from None
        if not all(_holds(installed, operator, wanted) for operator, wanted in conditions):
            raise place.fail(member, f"must be {text}, but {installed} is installed; run: pip install '{name}{text}'")
        found[name] = installed
    return found


def _read(text: str, member: str, place: Place) -> list[tuple[str, str]]:
    parts = [part for part in text.split(",") if part.strip()]
    found = [_PART.fullmatch(part) for part in parts]
    if not all(found):
        raise place.fail(member, f"has a condition that cannot be read: {text!r}; write it as '>=3.4,<4'")
    return [(match[1], match[2]) for match in found if match is not None]


def _holds(installed: str, operator: str, wanted: str) -> bool:
    ours, theirs = _numbers(installed), _numbers(wanted)
    size = max(len(ours), len(theirs))
    left, right = ours + (0,) * (size - len(ours)), theirs + (0,) * (size - len(theirs))
    if operator == "~=":
        return left >= right and ours[: len(theirs) - 1] == theirs[:-1]
    tests = {
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        "<": left < right,
        ">": left > right,
    }
    return tests[operator]


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else (0,)


__all__ = ["check_dependencies"]
