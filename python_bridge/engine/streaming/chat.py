"""Answers of the chat adapter: `[[ ## field ## ]]` headers at the beginning of lines."""

import re
from collections.abc import Collection

from python_bridge.engine.streaming.fields import Piece, Pieces, Trimmed

_HEADER = re.compile(r"(?:^|(?<=[\n\r]))[^\S\n\r]*\[\[ ## (\w+) ## \]\]")
_LINE_END = re.compile(r"[\n\r]")
_OPENING = "[[ ## "
_LONGEST = 160


class ChatSplitter:
    """See `FieldSplitter`. Holds back the last line as long as it may become a header."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._seen: set[str] = set()
        self._field: str | None = None
        self._trimmed = Trimmed()
        self._tail = ""
        self._at_line_start = True

    def feed(self, text: str) -> list[Piece]:
        pieces = Pieces(self._fields)
        self._tail += text
        while (header := self._next_header()) is not None:
            self._emit(pieces, self._tail[: header.start()], last=True)
            self._open(header.group(1))
            self._tail = self._tail[header.end() :]
            self._at_line_start = False
        cut = self._safe_length()
        self._emit(pieces, self._tail[:cut])
        if cut:
            self._at_line_start = self._tail[cut - 1] in "\n\r"
        self._tail = self._tail[cut:]
        return pieces.triples()

    def finish(self) -> list[Piece]:
        pieces = Pieces(self._fields)
        self._emit(pieces, self._tail, last=True)
        self._tail, self._field = "", None
        return pieces.triples()

    def _next_header(self) -> re.Match[str] | None:
        for header in _HEADER.finditer(self._tail):
            if header.start() or self._at_line_start:
                return header
        return None

    def _open(self, name: str) -> None:
        self._field = None if name in self._seen else name
        self._seen.add(name)
        self._trimmed = Trimmed()

    def _emit(self, pieces: Pieces, text: str, *, last: bool = False) -> None:
        if self._field is not None:
            pieces.add(self._field, self._trimmed.push(text), last=last)

    def _safe_length(self) -> int:
        """Return how much of the tail cannot be part of a header."""
        ends = [match.end() for match in _LINE_END.finditer(self._tail)]
        start = ends[-1] if ends else 0
        if not ends and not self._at_line_start:
            return len(self._tail)
        line = self._tail[start:].lstrip()
        if len(line) > _LONGEST or not (_OPENING.startswith(line) or line.startswith(_OPENING)):
            return len(self._tail)
        return start


__all__ = ["ChatSplitter"]
