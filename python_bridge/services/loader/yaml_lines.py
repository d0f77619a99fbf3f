"""YAML as JSON has it: plain values, each with its line; no tags that make objects, no surprises of YAML 1.1.

`yes`, `010`, `12:30` and `2024-01-01` are texts, `1e-3` is a number. A member that stands twice is an error. What an
alias (`*name`) points to is copied, and the copies count.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError

INSTALL = "pip install pyyaml"
MAX_BYTES = 1024 * 1024
MAX_VALUES = 100_000
MAX_DEPTH = 64
_TAG = "tag:yaml.org,2002:"
_WORDS = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
}


class Place:
    """Where the members of a file stand, by path (``"lm.model"``).

    Attributes:
        lines: the line of each member, and of each item of a list (``"chain.0"``).
        texts: the members of the file that are no maps nor lists, as they are written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, int] = {}
        self.texts: dict[str, str] = {}

    def fail(self, member: str, text: str) -> BridgeError:
        """Return an `invalid_request` that names the file, the line and the member."""
        parts = member.split(".")
        line = next(
            (self.lines[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in self.lines), 1
        )
        return self.fail_at(line, f"{member} {text}", member)

    def fail_at(self, line: int, text: str, member: str | None = None) -> BridgeError:
        """Return an `invalid_request` that names the file and the line."""
        details: dict[str, Any] = {"file": str(self.path), "line": line}
        if member is not None:
            details["member"] = member
        return BridgeError("invalid_request", f"{self.path}:{line}: {text}", details=details)


def read_yaml(path: Path) -> tuple[dict[str, Any], Place]:
    """Return the map of a YAML (or JSON) file and the places of its members.

    Raises:
        BridgeError: `not_found` when it cannot be read, `invalid_request` with the line for what is no YAML map,
            `unavailable` with the line to run where PyYAML is missing.
    """
    yaml: Any = _yaml()
    place = Place(path)
    text = _text(path, place)
    try:
        node: Any = yaml.compose(text, Loader=_loader())
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        problem: Any = getattr(error, "problem", None) or "a character that YAML does not take"
        raise place.fail_at(1 if mark is None else mark.line + 1, f"this is no YAML: {problem}") from None
    except RecursionError:
        raise place.fail_at(1, f"values are nested more than {MAX_DEPTH} levels deep; make them flatter") from None
    if node is None or node.id != "mapping":
        raise place.fail_at(1, "the configuration must be a map of members")
    return _Reader(place).read(node, "", 0), place


def _text(path: Path, place: Place) -> str:
    try:
        if not path.is_file():
            why = "it is no file" if path.exists() else "No such file or directory"
            raise BridgeError("not_found", f"the configuration {path} cannot be read: {why}")
        body = path.read_bytes()
    except OSError as error:
        raise BridgeError("not_found", f"the configuration {path} cannot be read: {error.strerror}") from None
    if len(body) > MAX_BYTES:
        raise place.fail_at(1, f"the file has {len(body)} bytes, more than {MAX_BYTES}")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise place.fail_at(line, "this is no YAML: a byte that is no UTF-8") from None


class _Reader:
    """Nodes → values. Nodes of aliases are shared, so each look at one counts."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._values = 0

    def read(self, node: Any, path: str, depth: int) -> Any:
        line: int = node.start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._place.fail_at(line, f"there are more than {MAX_VALUES} values, those of aliases each time")
        if depth > MAX_DEPTH:
            raise self._place.fail_at(line, f"values are nested more than {MAX_DEPTH} levels deep; make them flatter")
        if node.id == "scalar":
            return self._scalar(node, path, line)
        if node.tag != f"{_TAG}{'map' if node.id == 'mapping' else 'seq'}":
            raise self._tagged(node, line)
        if node.id == "mapping":
            return self._map(node, path, depth)
        return [self.read(item, self._at(f"{path}{index}", item), depth + 1) for index, item in enumerate(node.value)]

    def _map(self, node: Any, path: str, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar" or key.tag != f"{_TAG}str":
                shown = f"{key.value!r:.80} is" if key.id == "scalar" else "there is"
                raise self._place.fail_at(line, f"{shown} no name of a member; names are texts, put it in quotes")
            name: str = key.value
            if name == "<<":
                raise self._place.fail_at(line, "merge keys (<<) are not read; write the members out")
            if name in made:
                first = self._place.lines.get(f"{path}{name}", line)
                raise self._place.fail_at(line, f"{path}{name} stands here again; it stands in line {first} already")
            made[name] = self.read(item, self._at(f"{path}{name}", key), depth + 1)
        return made

    def _at(self, path: str, node: Any) -> str:
        self._place.lines[path] = node.start_mark.line + 1
        return f"{path}."

    def _scalar(self, node: Any, path: str, line: int) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text: str = node.value
        if path.count(".") == 1:
            self._place.texts[path[:-1]] = text
        if kind == "str":
            return text
        if kind not in _WORDS or not re.fullmatch(_WORDS[kind][0], text):
            raise self._tagged(node, line)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            return int(text) if kind == "int" else float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # more digits than Python reads
            raise self._place.fail_at(line, f"the number has {len(text)} digits; put it in quotes") from None

    def _tagged(self, node: Any, line: int) -> BridgeError:
        tag = str(node.tag).replace(_TAG, "!!")
        return self._place.fail_at(line, f"this is no YAML of plain values: the tag {tag:.80} is not read")


@cache
def _loader() -> Any:
    """PyYAML's safe parser with the words of JSON's values alone."""
    yaml: Any = _yaml()
    words: dict[str, Any] = {"yaml_implicit_resolvers": {}}
    kind: Any = type("PlainLoader", (yaml.SafeLoader,), words)
    for name, (pattern, first) in _WORDS.items():
        starts = ["" if char == "\0" else char for char in first]
        kind.add_implicit_resolver(f"{_TAG}{name}", re.compile(f"^(?:{pattern})$"), starts)
    return kind


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        text = f"reading YAML needs PyYAML, which is not installed in this Python; run: {INSTALL}"
        raise BridgeError("unavailable", text) from error
    return yaml


__all__ = ["INSTALL", "MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "Place", "read_yaml"]
