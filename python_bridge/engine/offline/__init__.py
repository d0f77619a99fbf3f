"""The embedded LM ``offline/extractive``. **It is not a language model.**

It has no weights and generates no language: it reads the prompt that a DSPy adapter wrote (Chat, JSON or XML), ranks
the sentences of the inputs against the question by BM25, and copies the best ones into the output fields. Numbers,
truth values, choices, lists and nested objects are filled by their type with what the best sentences hold. So demos,
tests and first steps run offline, on real documents, without a key; it cannot reason, translate, write or chat.

What it does keep is the contract of an LM: well-formed answers for the adapter in use, token counts (words and
punctuation marks), streaming in pieces. It is deterministic; `temperature`, `max_tokens` and `stop` have no effect.

Only `build` imports dspy: the rest works on plain messages.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from python_bridge.engine.offline.answering import answer
from python_bridge.engine.offline.prompt import ChatMessage, read_prompt

if TYPE_CHECKING:
    import dspy

MODEL = "offline/extractive"


def build(*, token_delay: float = 0.02, latency: float = 0.0, **options: Any) -> "dspy.LM":
    """Return the embedded LM.

    Args:
        token_delay: seconds between the pieces of a streamed answer.
        latency: seconds before an answer begins.
        options: passed to `dspy.LM` (`temperature`, `cache`, …).

    Raises:
        ValueError: a negative delay.
    """
    from python_bridge.engine.offline.extractive import Extractive
    from python_bridge.engine.offline.lm import local_lm

    return local_lm(MODEL, Extractive(token_delay=token_delay, latency=latency), **options)


def complete(messages: Sequence[ChatMessage], schema: Mapping[str, Any] | None = None) -> str:
    """Answer plain messages (role and text) without dspy, as the embedded LM would.

    Args:
        schema: JSON Schema for the answer where no adapter's prompt says what it should look like.
    """
    return answer(read_prompt(messages), schema)


__all__ = ["MODEL", "build", "complete"]
