"""String and bytes literals of signature text, decoded without evaluating anything."""

import re
import unicodedata

from python_bridge.engine.signatures.errors import syntax_error

_PREFIXES = {"", "r", "u", "b", "br", "rb"}
_ESCAPE = re.compile(r"\\(\r?\n|[0-7]{1,3}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]+\}|.)", re.DOTALL)
_JOINED = re.compile(r"\\\r?\n")
_BREAK = re.compile(r"[\r\n]")
_SIMPLE = {"\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def read_string(text: str, start: int, quote_at: int, limit: int) -> tuple[str | bytes, int]:
    """Read the literal whose prefix begins at `start` and whose quote stands at `quote_at`.

    Returns:
        Its value, and the offset after it.

    Raises:
        BridgeError: `signature_error` for an unknown prefix, an open end or a wrong escape.
    """
    prefix = text[start:quote_at].lower()
    if prefix not in _PREFIXES:
        raise syntax_error(text, start, quote_at + 1, f"strings with the prefix `{prefix}` are not known",
                           "Write a plain string: 'text'.")  # fmt: skip
    quote = text[quote_at] * 3 if text.startswith(text[quote_at] * 3, quote_at) else text[quote_at]
    body_start = quote_at + len(quote)
    stop = _closing(text, body_start, quote, limit)
    if stop is None or (len(quote) == 1 and _BREAK.search(_JOINED.sub("", text[body_start:stop]))):
        raise syntax_error(text, start, body_start, "this string is not closed", f"End it with {quote}.")
    body = text[body_start:stop]
    try:
        value: str | bytes = body if "r" in prefix else _ESCAPE.sub(lambda match: _unescape(match, "b" in prefix), body)
        if "b" in prefix:
            body.encode("ascii")
            value = value.encode("latin-1")
    except (ValueError, KeyError, UnicodeEncodeError):
        raise syntax_error(text, start, stop + len(quote), "this string has a wrong escape",
                           "Write `\\\\` for a backslash.") from None  # fmt: skip
    return value, stop + len(quote)


def _closing(text: str, position: int, quote: str, limit: int) -> int | None:
    while position < limit:
        if text[position] == "\\":
            position += 2
        elif text.startswith(quote, position) and position + len(quote) <= limit:
            return position
        else:
            position += 1
    return None


def _unescape(match: re.Match[str], is_bytes: bool) -> str:
    escape = match.group(1)
    if escape in _SIMPLE:
        return _SIMPLE[escape]
    if escape in ("\n", "\r\n"):
        return ""
    if escape[0] in "01234567":
        return chr(int(escape, 8))
    if escape[0] == "x" and len(escape) == 3:
        return chr(int(escape[1:], 16))
    if escape[0] in "uUN" and not is_bytes:
        return _unicode(escape)
    if escape[0] == "x":
        raise ValueError(escape)
    return match.group(0)


def _unicode(escape: str) -> str:
    if escape[0] == "N":
        return unicodedata.lookup(escape[2:-1])
    if len(escape) == 1:
        raise ValueError(escape)
    return chr(int(escape[1:], 16))


__all__ = ["read_string"]
