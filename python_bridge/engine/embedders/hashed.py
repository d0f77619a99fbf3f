"""The embedder ``offline/hashed``: no model, no network, the same on every machine."""

import re
import zlib
from collections.abc import Sequence

import numpy

MODEL = "offline/hashed"
DIMENSIONS = 512
_WORD = re.compile(r"\w+")


def embed(texts: Sequence[str], dimensions: int = DIMENSIONS) -> numpy.ndarray:
    """Return unit vectors of hashed words and letter triples, as float32 of the shape (texts, dimensions).

    >>> embed(["red fish", "red fish"], 64).shape
    (2, 64)
    """
    vectors = numpy.zeros((len(texts), dimensions), dtype=numpy.float32)
    for row, text in enumerate(texts):
        for part in _parts(text.lower()):
            digest = zlib.crc32(part.encode("utf-8", "surrogatepass"))
            vectors[row, digest % dimensions] += 1.0 if digest & 0x8000_0000 else -1.0
    norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(norms == 0, 1, norms)


def _parts(text: str) -> list[str]:
    words = _WORD.findall(text)
    return words + [word[at : at + 3] for word in words for at in range(len(word) - 2)]


__all__ = ["DIMENSIONS", "MODEL", "embed"]
