"""The programs that can be executed by id: JSON files of a folder, seen again when they change."""

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, cast

from cachetools import LRUCache

from python_bridge.engine.signatures.parser import parse_signature
from python_bridge.errors import BridgeError

_MAX_KEPT = 256
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")


class Catalogue:
    """Programs of a folder, each in ``<program_id>.json``.

    Args:
        folder: may be missing; there are no programs then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = str(folder)
        self._read: LRUCache[str, tuple[tuple[int, int, int], dict[str, Any]]] = LRUCache(_MAX_KEPT)

    def ids(self) -> list[str]:
        """Return the ids, sorted."""
        if not self._folder.is_dir():
            return []
        return sorted(path.stem for path in self._folder.glob("*.json") if _ID.fullmatch(path.stem))

    def get(self, program_id: str) -> dict[str, Any] | None:
        """Return the program's JSON, ``None`` when there is none.

        Raises:
            BridgeError: `program_error` when its file cannot be read as a JSON object.
        """
        path = f"{self._root}/{program_id}.json"
        if not _ID.fullmatch(program_id) or (mark := _mark(path)) is None:
            return None
        kept = self._read.get(program_id)
        if kept is not None and kept[0] == mark:
            return kept[1]
        program = self._parse(Path(path), program_id)
        self._read[program_id] = mark, program
        return program

    @staticmethod
    def _parse(path: Path, program_id: str) -> dict[str, Any]:
        try:
            program = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BridgeError("program_error", f"the program {program_id} cannot be read: {error}") from None
        if not isinstance(program, dict):
            raise BridgeError("program_error", f"the program {program_id} is no JSON object")
        # What has no name of its own is known by its id, in results, statistics and runs.
        return program if program.get("name") else {**program, "name": program_id}


def _mark(path: str) -> tuple[int, int, int] | None:
    """What tells that a file has changed; ``None`` where there is no file."""
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino) if stat.S_ISREG(seen.st_mode) else None


def view(catalogue: Catalogue, program_id: str) -> dict[str, Any]:
    """Return what a listing shows of a program; of one that cannot be read, why."""
    try:
        program = catalogue.get(program_id) or {}
    except BridgeError as error:
        program, problem = {"kind": ""}, error.message
    else:
        problem = None
    inputs, outputs = field_names(program)
    kind, signature = str(program.get("kind", "predict")), signature_text(program)
    shown = {"program_id": program_id, "kind": kind, "signature": signature, "inputs": inputs, "outputs": outputs}
    return shown if problem is None else {**shown, "error": problem}


def signature_text(program: dict[str, Any]) -> str:
    """Return the signature of a program's JSON as text, as far as it says it."""
    signature = program.get("signature") or ""
    if isinstance(signature, str):
        return signature
    if isinstance(signature, dict) and (text := cast("dict[str, Any]", signature).get("text")):
        return str(text)
    sides = [_named(signature, role) for role in ("input", "output")]
    return " -> ".join(", ".join(names) for names in sides) if any(sides) else ""


def field_names(program: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the names of a program's inputs and outputs, as far as its signature says them."""
    inputs, outputs = (_named(program.get("signature"), role) for role in ("input", "output"))
    if inputs or outputs:
        return inputs, outputs
    try:
        parsed = parse_signature(signature_text(program))
    except BridgeError:
        return [], []
    return [field.name for field in parsed.inputs], [field.name for field in parsed.outputs]


def _named(signature: Any, role: str) -> list[str]:
    """The fields of a role, in whatever stands in a file that nobody has checked."""
    fields: Any = cast("dict[str, Any]", signature).get("fields") if isinstance(signature, dict) else None
    found: list[Any] = [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
    return [str(field.get("name")) for field in found if field.get("role") == role]


__all__ = ["Catalogue", "field_names", "signature_text", "view"]
