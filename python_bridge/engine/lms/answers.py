"""What an LM answered, as the lean LM takes it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """One candidate.

    Attributes:
        output: what DSPy's adapters take: a text, or a map with `text` and more (`tool_calls`, `reasoning_content`).
        usage: `prompt_tokens`, `completion_tokens`, `total_tokens`.
        cost: US dollars where known.
    """

    output: str | dict[str, Any]
    usage: dict[str, Any] = field(default_factory=dict[str, Any])
    cost: float | None = None


class Wire(Protocol):
    """Speaks to a provider: one attempt, no retries. Raises `dspy.lm15` errors.

    `body` is a chat completions request without `stream` and `n`.
    """

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer."""
        ...

    def stream(self, body: dict[str, Any]) -> AsyncGenerator[str | Answer, None]:
        """Give pieces of the answer's text, and the whole answer last."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


__all__ = ["Answer", "Wire"]
