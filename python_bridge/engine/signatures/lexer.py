"""Text of one side of a signature → tokens. Nothing is looked up or evaluated here."""

import keyword
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from python_bridge.engine.signatures.errors import syntax_error
from python_bridge.engine.signatures.strings import read_string

Kind = Literal["name", "number", "string", "symbol", "end"]

_BLANK = re.compile(r"(?:[ \t\f\r\n]|\\\r?\n|#[^\n]*\n)+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAIL = re.compile(r"[A-Za-z0-9_]*")
_STRING_START = re.compile(r"[A-Za-z]{0,2}(?='|\")")
_NUMBER = re.compile(
    r"0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?(?:[eE][+-]?\d(?:_?\d)*)?|\.\d(?:_?\d)*"
)
_SYMBOL = re.compile(r"\.\.\.|\*\*|[,:\[\]().|=*/]")

CONSTANT_WORDS = {"None": None, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `value` is the name, the number, the string's content or the symbol; offsets are of the whole text."""

    kind: Kind
    value: object
    start: int
    end: int


def tokenize(text: str, start: int, end: int) -> list[Token]:
    """Split `text[start:end]` into tokens, ending with one of kind ``end``.

    Raises:
        BridgeError: `signature_error` at a character that no token begins with.
    """
    tokens: list[Token] = []
    position = start
    while position < end:
        if blank := _BLANK.match(text, position, end):
            position = blank.end()
            continue
        token = _next(text, position, end)
        tokens.append(token)
        position = token.end
    tokens.append(Token("end", None, end, end))
    return tokens


def _next(text: str, position: int, end: int) -> Token:
    if match := _STRING_START.match(text, position, end):
        value, stop = read_string(text, position, match.end(), end)
        return Token("string", value, position, stop)
    if (stop := _name_end(text, position, end)) > position:
        return _name(text, position, stop)
    if match := _NUMBER.match(text, position, end):
        return _number(text, position, match.end(), end)
    if match := _SYMBOL.match(text, position, end):
        return Token("symbol", match.group(), position, match.end())
    raise _unexpected(text, position)


def _name_end(text: str, start: int, limit: int) -> int:
    """Return where the name that begins at `start` ends; `start` itself where none does."""
    match = _NAME.match(text, start, limit)
    end = match.end() if match else start
    # Characters beyond ASCII, such as combining marks, are what Python says they are; a pattern knows fewer.
    while end < limit and not text[end].isascii() and f"a{unicodedata.normalize('NFKC', text[end])}".isidentifier():
        tail = _TAIL.match(text, end + 1, limit)
        end = tail.end() if tail else end + 1
    return end


def _name(text: str, start: int, end: int) -> Token:
    name = unicodedata.normalize("NFKC", text[start:end])
    if not name.isidentifier():
        raise syntax_error(text, start, end, f"`{name}` is not a name", "Use letters, digits and `_`.")
    return Token("name", name, start, end)


def _number(text: str, start: int, end: int, limit: int) -> Token:
    if end < limit and (text[end].isalnum() or text[end] == "_"):
        raise syntax_error(text, start, end + 1, "a name cannot begin with a digit", "Begin it with a letter.")
    literal = text[start:end].replace("_", "")
    try:
        value = float(literal) if _is_float(literal) else int(literal, 0)
    except ValueError:
        raise syntax_error(
            text, start, end, f"`{literal}` is not a number", "Write it without leading zeros."
        ) from None
    return Token("number", value, start, end)


def _is_float(literal: str) -> bool:
    return literal[:2].lower() != "0x" and any(char in literal for char in ".eE")


def _unexpected(text: str, position: int) -> Exception:
    char = text[position]
    if char == "#":
        suggestion = "Leave comments out, or end them with a new line."
    elif char in "-=><→⇒":
        suggestion = "Inputs and outputs are parted by exactly one `->`."
    elif char == "?":
        suggestion = "An optional value is written `Optional[type]` or `type | None`."
    else:
        suggestion = "Write fields as `name: type`, parted by commas."
    return syntax_error(text, position, position + 1, f"unexpected character {char!r}", suggestion)


def is_reserved_word(name: str) -> bool:
    """Whether Python keeps `name` for itself, so that it cannot name a field."""
    return keyword.iskeyword(name)


__all__ = ["CONSTANT_WORDS", "Token", "is_reserved_word", "tokenize"]
