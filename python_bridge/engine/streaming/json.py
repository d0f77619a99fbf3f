"""Answers of the JSON adapter: one object whose members are the fields."""

import json
from collections.abc import Collection

from python_bridge.engine.streaming.fields import Piece, Pieces, Trimmed

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class JsonSplitter:
    """See `FieldSplitter`. Text members come without quotes and escapes, other members as the JSON that was written."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._state = self._before
        self._key = ""
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._escape = ""
        self._trimmed = Trimmed()
        self._out = ""
        self._open = False

    def feed(self, text: str) -> list[Piece]:
        pieces = Pieces(self._fields)
        for char in text:
            self._state(char, pieces)
        self._flush(pieces)
        return pieces.triples()

    def finish(self) -> list[Piece]:
        pieces = Pieces(self._fields)
        if self._open:
            self._close(pieces)
        return pieces.triples()

    def _flush(self, pieces: Pieces) -> None:
        if self._open and self._out:
            pieces.add(self._key, self._out)
            self._out = ""

    def _close(self, pieces: Pieces) -> None:
        pieces.add(self._key, self._out, last=True)
        self._out, self._open = "", False

    def _before(self, char: str, _pieces: Pieces) -> None:
        if char == "{":
            self._state = self._between

    def _between(self, char: str, _pieces: Pieces) -> None:
        """Between members, before a key."""
        if char == '"':
            self._key, self._escape, self._state = "", "", self._in_key
        elif char == "}":
            self._state = self._after

    def _in_key(self, char: str, _pieces: Pieces) -> None:
        if self._escape:
            self._key += self._escape + char
            self._escape = ""
        elif char == "\\":
            self._escape = char
        elif char == '"':
            self._state = self._before_value
        else:
            self._key += char

    def _before_value(self, char: str, pieces: Pieces) -> None:
        if char in ": \t\r\n":
            return
        self._open, self._out = True, ""
        if char == '"':
            self._state = self._text
            return
        self._depth, self._in_string, self._escaped = 0, False, False
        self._trimmed = Trimmed()
        self._state = self._other
        self._other(char, pieces)

    def _text(self, char: str, pieces: Pieces) -> None:
        if self._escape:
            self._unescape(char)
        elif char == "\\":
            self._escape = char
        elif char == '"':
            self._close(pieces)
            self._state = self._between
        else:
            self._out += char

    def _unescape(self, char: str) -> None:
        self._escape += char
        if self._escape[1] != "u":
            self._out += _ESCAPES.get(char, char)
        elif len(self._escape) == 6 and _is_high_surrogate(self._escape):
            return
        elif len(self._escape) in (6, 12):
            self._out += _decoded(self._escape)
        else:
            return
        self._escape = ""

    def _other(self, char: str, pieces: Pieces) -> None:
        """Inside a number, a word, a list or an object."""
        if not self._in_string and self._depth == 0 and char in ",}":
            self._close(pieces)
            self._state = self._between if char == "," else self._after
            return
        self._out += self._trimmed.push(char)
        if self._in_string:
            self._step_in_string(char)
        elif char == '"':
            self._in_string = True
        elif char in "[{":
            self._depth += 1
        elif char in "]}":
            self._depth -= 1

    def _step_in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False

    def _after(self, _char: str, _pieces: Pieces) -> None:
        """Behind the object nothing counts."""


def _is_high_surrogate(escape: str) -> bool:
    return escape[2:4].lower() in ("d8", "d9", "da", "db")


def _decoded(escape: str) -> str:
    try:
        text = json.loads(f'"{escape}"')
    except ValueError:
        return escape
    return text if not any(0xD800 <= ord(char) < 0xE000 for char in text) else "\ufffd"


__all__ = ["JsonSplitter"]
