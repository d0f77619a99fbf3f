"""Inputs of a batch from files: JSON lines, CSV, Arrow."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

_ARROW = (".arrow", ".feather", ".ipc")
# Python's own bound of 128 KiB for a field of a CSV file is less than a document has.
_FIELD_BYTES = 256 * 1024 * 1024


class ItemsError(ValueError):
    """A file cannot be read; the message says where, and what is wrong."""


def read_items(source: Path) -> Iterator[dict[str, Any]]:
    """Give the inputs of a file, one map an item; ``-`` is the standard input. The values of CSV are texts.

    Raises:
        ItemsError: the file, or a line of it, cannot be read.
    """
    try:
        if source.suffix in _ARROW:
            yield from _arrow_rows(source)
            return
        with _opened(source) as file:
            yield from (_csv_rows if source.suffix == ".csv" else _json_rows)(file, source)
    except UnicodeDecodeError as error:
        raise ItemsError(f"{source} is no UTF-8: {error.reason} (byte 0x{error.object[error.start]:02x})") from None
    except OSError as error:
        raise ItemsError(f"{source} cannot be read: {error.strerror or error}") from None


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one regular file."""
    try:
        return one.is_file() and os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _opened(source: Path) -> TextIO:
    given: Any = sys.stdin.fileno() if str(source) == "-" else source
    return open(given, encoding="utf-8-sig", newline="", closefd=given is source)


def _json_rows(file: TextIO, source: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(file), 1):
        if line.strip():
            yield _object(line, source, number)


def _lines(file: TextIO) -> Iterable[str]:
    """Lines end with LF alone, or with CR LF; a lone CR is white space to JSON."""
    rest = ""
    for part in file:  # a file opened with newline="" ends lines at a lone CR too
        rest += part
        if part.endswith("\n"):
            yield rest
            rest = ""
    if rest:
        yield rest


def _csv_rows(file: TextIO, source: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_FIELD_BYTES)
    rows = csv.DictReader(file)
    try:
        names = rows.fieldnames or []
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ItemsError(f"{source}:1 names {repeated[0]!r} twice")
        for row in rows:
            if None in row:
                raise ItemsError(f"{source}:{rows.line_num} has more fields than the {len(names)} of the first line")
            yield {name: text for name, text in row.items() if text is not None}
    except csv.Error as error:
        raise ItemsError(f"{source}:{rows.line_num} is no CSV: {error}") from None


def _arrow_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of an Arrow file or stream, a batch in memory at a time."""
    try:
        import pyarrow as pa
    except ImportError:
        raise ItemsError(f"{source} needs pyarrow; run: pip install 'python-bridge[arrow]'") from None
    with pa.memory_map(str(source)) as mapped:
        try:
            try:
                reader = pa.ipc.open_file(mapped)
                batches: Any = (reader.get_batch(number) for number in range(reader.num_record_batches))
            except pa.ArrowInvalid:
                mapped.seek(0)
                batches = iter(pa.ipc.open_stream(mapped))
            for batch in batches:
                yield from batch.to_pylist()
        except (pa.ArrowException, ValueError) as error:
            raise ItemsError(f"{source} is no Arrow file, or a damaged one: {error}") from None


def _object(line: str, source: Path, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
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
    except (ValueError, RecursionError):
        return text


__all__ = ["ItemsError", "json_or_text", "read_items", "same_file"]
