"""Any provider that DSPy's `lm15` engines speak to."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from dspy import lm15
from dspy._vendor.lm15.result import StreamAccumulator
from dspy.clients.call_result import legacy_output, usage_dict
from dspy.clients.engines.stream_guard import achecked_stream

from python_bridge.engine.lms.answers import Answer
from python_bridge.engine.lms.lm15_request import request_of
from python_bridge.engine.lms.pricing import price


class Lm15Wire:
    """See `Wire`.

    Args:
        model: as in `dspy.LM`.
        engine: an asynchronous `dspy.lm15` engine.
    """

    def __init__(self, model: str, engine: Any) -> None:
        self._model = model
        self._provider = model.partition("/")[0]
        self._engine = engine

    async def complete(self, body: dict[str, Any]) -> Answer:
        """Return the answer."""
        response = await self._engine.complete(request_of(body))
        return self._answer(response, body)

    async def stream(self, body: dict[str, Any]) -> AsyncGenerator[str | Answer, None]:
        """Give the text in pieces, and the whole answer last."""
        request = request_of(body)
        accumulator = StreamAccumulator(request)
        # Closes the engine's stream, and so the provider's connection, when this one is closed.
        async with aclosing(achecked_stream(self._engine.stream(request), provider=self._provider)) as events:
            async for event in events:
                accumulator.push(event)
                if event.type == "delta" and event.delta.type == "text":
                    yield event.delta.text
        yield self._answer(accumulator.response(), body)

    async def aclose(self) -> None:
        """Close the engine."""
        if (close := getattr(self._engine, "aclose", None)) is not None:
            await close()

    def _answer(self, response: lm15.Response, body: dict[str, Any]) -> Answer:
        output: Any = legacy_output(response, logprobs=bool(body.get("logprobs")))
        usage = usage_dict(response, self._provider)
        one = len(output) == 1 and output["text"] is not None
        return Answer(output["text"] if one else output, usage, price(self._model, response))


__all__ = ["Lm15Wire"]
