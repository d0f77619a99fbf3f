"""The server's `/embeddings`: vectors of hashed words, the same for the same text."""

from collections.abc import Mapping
from typing import Any

from python_bridge.engine.embedders.hashed import embed
from python_bridge.engine.offline.pieces import count_tokens
from python_bridge.testing import http
from python_bridge.testing.openai_behaviour import Behaviour

DIMENSIONS = 64


def embeddings(body: Mapping[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """Return the answer to a request for embeddings.

    Raises:
        http.BadRequest: `input` is neither a text nor a list of texts, or `dimensions` no number from 1 to 65536.
    """
    texts = [body["input"]] if isinstance(body.get("input"), str) else body.get("input")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise http.BadRequest("input must be a text or a list of texts")
    dimensions = body.get("dimensions", DIMENSIONS)
    if type(dimensions) is not int or not 1 <= dimensions <= 65_536:
        raise http.BadRequest("dimensions must be a whole number from 1 to 65536")
    rows = embed(texts, dimensions).tolist()
    tokens = behaviour.usage[0] if behaviour.usage else sum(count_tokens(text) for text in texts)
    return {
        "object": "list",
        "model": body.get("model"),
        "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


__all__ = ["DIMENSIONS", "embeddings"]
