"""Errors that point into a signature's text."""

from python_bridge.engine.printable import printable
from python_bridge.errors import BridgeError

_WIDTH = 72


def syntax_error(text: str, start: int, end: int, message: str, suggestion: str) -> BridgeError:
    """Return a ``signature_error`` that shows `text` with carets under `text[start:end]`.

    Args:
        text: the whole signature.
        start: offset of the first wrong character; may be `len(text)`.
        end: offset after the last wrong character; at least one caret is drawn.
        message: what is wrong.
        suggestion: what to write in its place.
    """
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", start)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    column = start - line_start
    width = max(1, min(end, line_start + len(line)) - start)
    shown, caret_at = _window(line, column)
    carets = "^" * max(1, min(width, len(shown) - caret_at))
    pointer = "".join("\t" if char == "\t" else " " for char in shown[:caret_at]) + carets
    return BridgeError(
        "signature_error",
        printable(f"{message}\n\n    {shown}\n    {pointer}\n\n{suggestion}"),
        details={"offset": start, "length": width, "suggestion": printable(suggestion)},
    )


def _window(line: str, column: int) -> tuple[str, int]:
    """Cut a long line to the part around `column`."""
    if len(line) <= 2 * _WIDTH:
        return line, column
    left = max(0, column - _WIDTH)
    head = "…" if left else ""
    tail = "…" if left + 2 * _WIDTH < len(line) else ""
    return head + line[left : left + 2 * _WIDTH] + tail, column - left + len(head)


__all__ = ["syntax_error"]
