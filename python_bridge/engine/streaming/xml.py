"""Answers of the XML adapter: `<field>…</field>`."""

import re
from collections.abc import Collection

from python_bridge.engine.streaming.fields import Piece, Pieces, Trimmed

_TAG = re.compile(r"<(\w+)>")
_ENTITY = re.compile(r"&(#?\w{1,8});")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LONGEST_ENTITY = 10


class XmlSplitter:
    """See `FieldSplitter`. Holds back what may become the field's closing tag."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._seen: set[str] = set()
        self._field: str | None = None
        self._trimmed = Trimmed()
        self._tail = ""

    def feed(self, text: str) -> list[Piece]:
        pieces = Pieces(self._fields)
        self._tail += text
        while self._step(pieces):
            pass
        return pieces.triples()

    def finish(self) -> list[Piece]:
        """An open field is no field for the adapter; it is closed here so that every stream of a field ends."""
        pieces = Pieces(self._fields)
        if self._field is not None:
            pieces.add(self._field, self._trimmed.push(_unescaped(self._tail)), last=True)
        self._tail, self._field = "", None
        return pieces.triples()

    def _step(self, pieces: Pieces) -> bool:
        return self._find_opening() if self._field is None else self._find_closing(pieces, self._field)

    def _find_opening(self) -> bool:
        for tag in _TAG.finditer(self._tail):
            if tag.group(1) in self._fields and tag.group(1) not in self._seen:
                name = tag.group(1)
                self._field = name
                self._seen.add(name)
                self._trimmed = Trimmed()
                self._tail = self._tail[tag.end() :]
                return True
        opening = self._tail.rfind("<")
        self._tail = self._tail[opening:] if opening >= 0 else ""
        return False

    def _find_closing(self, pieces: Pieces, field: str) -> bool:
        closing = f"</{field}>"
        found = self._tail.find(closing)
        if found >= 0:
            pieces.add(field, self._trimmed.push(_unescaped(self._tail[:found])), last=True)
            self._tail, self._field = self._tail[found + len(closing) :], None
            return True
        cut = _without_open_entity(self._tail, len(self._tail) - _overlap(self._tail, closing))
        pieces.add(field, self._trimmed.push(_unescaped(self._tail[:cut])))
        self._tail = self._tail[cut:]
        return False


def _unescaped(text: str) -> str:
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    name = match.group(1)
    if name in _ENTITIES:
        return _ENTITIES[name]
    if not name.startswith("#"):
        return match.group()
    try:
        return chr(int(name[2:], 16) if name[1] in "xX" else int(name[1:]))
    except (ValueError, OverflowError):
        return match.group()


def _without_open_entity(text: str, end: int) -> int:
    """Return where to cut so that no entity is torn."""
    start = text.rfind("&", max(0, end - _LONGEST_ENTITY), end)
    return end if start < 0 or ";" in text[start:end] else start


def _overlap(text: str, end: str) -> int:
    """Return the length of the longest end of `text` that begins `end`."""
    for length in range(min(len(text), len(end) - 1), 0, -1):
        if end.startswith(text[-length:]):
            return length
    return 0


__all__ = ["XmlSplitter"]
