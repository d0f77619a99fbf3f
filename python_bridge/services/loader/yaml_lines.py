"""YAML with the line of every member, and none of YAML's tags that make objects."""

from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError

INSTALL = "pip install pyyaml"


class Place:
    """Where the members of a file stand, by path (``"lm.model"``)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, int] = {}

    def fail(self, member: str, text: str) -> BridgeError:
        """Return an `invalid_request` that names the file, the line and the member."""
        parts = member.split(".")
        line = next(
            (self.lines[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in self.lines), 1
        )
        return BridgeError(
            "invalid_request",
            f"{self.path}:{line}: {member} {text}",
            details={"file": str(self.path), "line": line, "member": member},
        )


def read_yaml(path: Path) -> tuple[dict[str, Any], Place]:
    """Return the map of a YAML (or JSON) file and the places of its members.

    Raises:
        BridgeError: `not_found` when it cannot be read, `invalid_request` with the line for what is no YAML map,
            `unavailable` with the line to run where PyYAML is missing.
    """
    yaml: Any = _yaml()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BridgeError("not_found", f"the configuration {path} cannot be read: {error}") from None
    place = Place(path)
    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        line: int = 1 if mark is None else mark.line + 1
        problem: Any = getattr(error, "problem", None) or "cannot be read"
        raise BridgeError("invalid_request", f"{path}:{line}: this is no YAML: {problem}") from None
    if not isinstance(value, dict):
        raise BridgeError("invalid_request", f"{path}:1: the configuration must be a map of members")
    _note(node, "", place.lines, 0)
    return value, place  # pyright: ignore[reportUnknownVariableType]


def _note(node: Any, prefix: str, lines: dict[str, int], depth: int) -> None:
    if depth > 32 or node.id == "scalar":
        return
    if node.id == "mapping":
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            lines[name] = key.start_mark.line + 1
            _note(value, f"{name}.", lines, depth + 1)
    else:
        for index, value in enumerate(node.value):
            lines[f"{prefix}{index}"] = value.start_mark.line + 1
            _note(value, f"{prefix}{index}.", lines, depth + 1)


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        text = f"reading YAML needs PyYAML, which is not installed in this Python; run: {INSTALL}"
        raise BridgeError("unavailable", text) from error
    return yaml


__all__ = ["INSTALL", "Place", "read_yaml"]
