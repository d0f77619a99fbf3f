"""Foreign texts as messages quote them: what would steer a terminal is shown, one character for one."""

_LOW = {
    code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"
}  # the pictures of the control characters
_UNSEEN = [
    *range(0x80, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]  # further ones, and turns of the direction
_PICTURES = {**_LOW, 0x7F: 0x2421, **dict.fromkeys(_UNSEEN, 0xFFFD)}


def printable(text: str) -> str:
    """Return `text`, as long as it was, with pictures for control characters; line ends and tabs stay."""
    return text if text.isascii() and text.isprintable() else text.translate(_PICTURES)


__all__ = ["printable"]
