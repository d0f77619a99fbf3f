"""The text of an LM's answer, piece by piece → the text of each output field, piece by piece.

A splitter takes pieces of any size and gives `(field, text, last)` triples. What it gives for a field, joined, is the
field's text as the adapter parses it: headers, tags, white space at both ends and JSON's quotes are left out.
"""

from collections.abc import Collection
from typing import Protocol

Piece = tuple[str, str, bool]


class FieldSplitter(Protocol):
    """One answer of one LM call."""

    def feed(self, text: str) -> list[Piece]:
        """Take the next piece of the answer; return what is certain now, at most one triple a field."""
        ...

    def finish(self) -> list[Piece]:
        """The answer is complete: return what was held back."""
        ...


class Trimmed:
    """Pieces of one field without the white space around the whole."""

    def __init__(self) -> None:
        self._started = False
        self._held = ""

    def push(self, text: str) -> str:
        """Return what may go out now."""
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        text = self._held + text
        kept = text.rstrip()
        self._held = text[len(kept) :]
        return kept


class Pieces:
    """Joins what one `feed` gives for the same field."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._texts: dict[str, str] = {}
        self._last: set[str] = set()

    def add(self, field: str, text: str, *, last: bool = False) -> None:
        """Add text of a field; fields that are not outputs are dropped."""
        if field not in self._fields or not (text or last):
            return
        self._texts[field] = self._texts.get(field, "") + text
        if last:
            self._last.add(field)

    def triples(self) -> list[Piece]:
        """Return what was added, in order of first appearance."""
        return [(field, text, field in self._last) for field, text in self._texts.items()]


__all__ = ["FieldSplitter", "Piece", "Pieces", "Trimmed"]
