"""Inputs of a batch from files: JSON lines, CSV, Arrow."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ARROW = (".arrow", ".feather", ".ipc")


class ItemsError(ValueError):
    """A file cannot be read; the message says where, and what is wrong."""


def read_items(source: Path) -> Iterator[dict[str, Any]]:
    """Give the inputs of a file, one map an item.

    Raises:
        ItemsError: the file, or a line of it, cannot be read.
    """
    try:
        if source.suffix in _ARROW:
            yield from _arrow_rows(source)
            return
        with source.open(encoding="utf-8", newline="") as file:
            if source.suffix == ".csv":
                yield from ({name: json_or_text(text) for name, text in row.items()} for row in csv.DictReader(file))
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _object(line, source, number)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ItemsError(f"{source} cannot be read: {error}") from None


def _arrow_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow file or stream, a batch in memory at a time."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ItemsError(f"{source} needs pyarrow; run: pip install 'python-bridge[arrow]'") from None
    with pa.memory_map(str(source)) as mapped:
        try:
            reader = pa.ipc.open_file(mapped)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            mapped.seek(0)
            try:
                batches = iter(pa.ipc.open_stream(mapped))
            except pa.ArrowInvalid as error:
                raise ItemsError(f"{source} is no Arrow file: {error}") from None
        for batch in batches:
            yield from batch.to_pylist()


def _object(line: str, source: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise ItemsError(f"{source}:{number} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ItemsError(f"{source}:{number} is no JSON object")
    return value


def json_or_text(text: Any) -> Any:
    """Return what JSON text holds; other text, and what is no text, as it is."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


__all__ = ["ItemsError", "json_or_text", "read_items"]
