"""The keys that this process has read for its LMs and embedders, so that no text of a provider brings them back.

The keys come from the environment of the process, which is one for all; so is this record of them. It holds no more
keys than the environment does.
"""

HIDDEN = "[hidden]"
_SHORTEST = 8  # shorter ones would blot out ordinary text
_known: set[str] = set()


def remember(key: str | None) -> str | None:
    """Return `key`, which `hide` blots out from now on, when it has 8 characters or more."""
    if key is not None and len(key) >= _SHORTEST:
        _known.add(key)
    return key


def hide(text: str) -> str:
    """Return `text` without any key that was remembered, longer ones first: one may begin as another does."""
    for key in sorted(_known, key=len, reverse=True):
        text = text.replace(key, HIDDEN)
    return text


__all__ = ["HIDDEN", "hide", "remember"]
