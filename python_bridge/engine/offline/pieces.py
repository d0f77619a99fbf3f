"""Tokens that are counted, and pieces that are streamed."""

import re

_TOKEN = re.compile(r"\w+|[^\w\s]")
_PIECE = re.compile(r"\s*\S+\s*?(?=\s|\Z)|\s+\Z")


def count_tokens(text: str) -> int:
    """Count words and punctuation marks: a stand-in for a model's tokens.

    >>> count_tokens("The lamp, it burns.")
    6
    """
    return sum(1 for _ in _TOKEN.finditer(text))


def cut(text: str) -> tuple[str, ...]:
    """Cut a text into the pieces that a stream sends: words with the white space before them.

    >>> cut("The lamp\\nburns. ")
    ('The', ' lamp', '\\nburns.', ' ')
    """
    return tuple(_PIECE.findall(text))


__all__ = ["count_tokens", "cut"]
