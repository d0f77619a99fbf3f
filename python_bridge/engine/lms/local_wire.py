"""The LMs of this process where DSPy has no engines: their replies as they are, without DSPy's stream types."""

from collections.abc import AsyncGenerator
from typing import Any

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.lms.answers import Answer
from python_bridge.engine.offline.lm import AsyncLocalEngine, Reply


class LocalWire:
    """See `Wire`.

    Args:
        model: as in `dspy.LM`.
        engine: of `python_bridge.engine.offline.lm`.
    """

    def __init__(self, model: str, engine: AsyncLocalEngine) -> None:
        self._cost = 0.0 if model.startswith("offline/") else None
        self._responder = engine.responder

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer."""
        reply = await self._reply(body)
        for number in range(len(reply.pieces) if reply.paced else 0):
            await reply.apause(number)
        return self._answer(reply)

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str | Answer, None]:
        """Give the text in pieces, and the whole answer last."""
        reply = await self._reply(body)
        for number, piece in enumerate(reply.pieces):
            await reply.apause(number)
            yield piece
        yield self._answer(reply)

    async def aclose(self) -> None:
        """Nothing is held open."""

    async def _reply(self, body: dict[str, Any]) -> Reply:
        return await self._responder.areply(lm15.request_from_openai_chat(body))

    def _answer(self, reply: Reply) -> Answer:
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return Answer(reply.text, usage, self._cost)


__all__ = ["LocalWire"]
