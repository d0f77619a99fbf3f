"""What depends on a signature alone, made once."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

CACHE_SIZE = 512


def key_of(signature: Any) -> Any:
    """Return the key of what is kept: a signature class is as good as constant, its instructions are not."""
    return signature, signature.__doc__


class Kept:
    """What `make` gives for each of the latest `CACHE_SIZE` signatures. Safe for threads."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._made = lru_cache(maxsize=CACHE_SIZE)(lambda key: make(key[0]))

    def __call__(self, signature: Any) -> Any:
        return self._made(key_of(signature))

    def __len__(self) -> int:
        return self._made.cache_info().currsize


__all__ = ["CACHE_SIZE", "Kept", "key_of"]
