"""A `dspy.LM` that stays on the loop: no thread hops, our own retries, streaming with backpressure.

DSPy's own `LM.acall` goes through a thread two to four times a call. This one makes the request and reads the
answer in place.
"""

import asyncio
from contextlib import aclosing
from typing import Any

import dspy
from dspy.utils.callback import with_callbacks

from python_bridge.engine.compat.errors import is_retryable, wrap_error
from python_bridge.engine.compat.lm import EngineLM
from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.compat.streams import stream_emitted
from python_bridge.engine.lms.answers import Answer, Wire
from python_bridge.engine.lms.capabilities import declared_capabilities, known_capabilities
from python_bridge.engine.lms.engines import wire_of
from python_bridge.engine.lms.observed import observed
from python_bridge.engine.lms.response_format import response_format
from python_bridge.engine.scope import current_scope

_MAX_WAIT = 60.0
_NOT_SENT = frozenset({"n", "num_generations", "rollout_id", "cache", "prompt_cache"})


class LeanLM(EngineLM):
    """An LM over a wire.

    Args:
        model: as in `dspy.LM`.
        engine, async_engine: `dspy.lm15` engines; they serve what does not come through `acall` with messages.
        wire: speaks to the provider; ``None`` makes one of `async_engine`.
        retries: how often an error that may pass is tried again, waiting `Retry-After` or 1, 2, 4 … seconds.
        timeout: seconds for one answer that does not stream; ``None`` leaves it to the wire.
        known: whether DSPy's list of models says what the model can do; otherwise `engine` says it.
        options: default parameters (`temperature`, `max_tokens`, …).
    """

    def __init__(
        self,
        model: str,
        *,
        engine: Any,
        async_engine: Any,
        wire: Wire | None = None,
        retries: int = 0,
        timeout: float | None = None,
        known: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, engine=engine, async_engine=async_engine, cache=False, num_retries=0, **options)
        self.retries = retries
        self.request_timeout = timeout
        self.wire: Wire = wire or wire_of(model, async_engine)
        self._capabilities = known_capabilities(model) if known else declared_capabilities(engine)

    @property
    def supports_function_calling(self) -> bool:
        """Whether the model takes tools."""
        return self._capabilities.function_calling

    @property
    def supports_reasoning(self) -> bool:
        """Whether the model reasons by itself."""
        return self._capabilities.reasoning

    @property
    def supports_response_schema(self) -> bool:
        """Whether the model takes a JSON Schema for its answer."""
        return self._capabilities.response_schema

    @property
    def supported_params(self) -> set[str]:
        """Parameters that the model takes."""
        return set(self._capabilities.params)

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Run on the call's loop when a module calls from a thread, so that a cancel reaches the request."""
        scope = current_scope()
        if scope is None or _on_loop():
            return super().__call__(prompt, messages=messages, **kwargs)
        return scope.run(self.acall(prompt, messages=messages, **kwargs))

    @with_callbacks
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Return the outputs of a legacy call: a list of texts, or of maps where there is more than text."""
        if isinstance(prompt, lm15.Request) or "request" in kwargs:
            return await super().acall(prompt, messages=messages, **kwargs)
        if (scope := current_scope()) is not None:
            scope.usage.admit()
        merged = {**self.kwargs, **kwargs}
        count = merged.get("n") or merged.get("num_generations") or 1
        body = self._body(prompt, messages, merged)
        if count == 1:
            return [await self._candidate(body)]
        return await self._candidates(body, count)

    def _body(self, prompt: Any, messages: Any, merged: dict[str, Any]) -> dict[str, Any]:
        body = {key: value for key, value in merged.items() if value is not None and key not in _NOT_SENT}
        if "max_completion_tokens" in self.kwargs and "max_tokens" in body:  # models that reason know it by this name
            body["max_completion_tokens"] = body.pop("max_tokens")
        if "response_format" in body:
            body["response_format"] = response_format(body["response_format"])
        return {"model": self.model, "messages": messages or [{"role": "user", "content": prompt}], **body}

    async def _candidates(self, body: dict[str, Any], count: int) -> list[Any]:
        """Ask for several answers at once. Only the first one streams: a stream has one text a field."""
        first = asyncio.ensure_future(self._candidate(body))
        with dspy.context(send_stream=None):
            rest = [asyncio.ensure_future(self._candidate(body)) for _ in range(count - 1)]
        tasks = [first, *rest]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _candidate(self, body: dict[str, Any]) -> Any:
        attempt = 0
        while True:
            progress = _Progress()
            try:
                answer = await observed(self.model, attempt, self._attempt(body, progress))
            except Exception as raised:
                error: Any = wrap_error(raised, model=self.model, provider=self._provider_name)
                if attempt >= self.retries or progress.emitted or not is_retryable(error):
                    raise error from raised
                await asyncio.sleep(retry_delay(error, attempt))
                attempt += 1
            else:
                self._record(answer)
                return answer.output

    async def _attempt(self, body: dict[str, Any], progress: "_Progress") -> Answer:
        sink = dspy.settings.send_stream
        if sink is not None:
            return await self._stream(body, sink, progress)
        if self.request_timeout is None:
            return await self.wire.complete(body)
        try:
            async with asyncio.timeout(self.request_timeout):
                return await self.wire.complete(body)
        except TimeoutError as error:
            if isinstance(error, lm15.TimeoutError):
                raise
            raise lm15.TimeoutError(
                f"no answer within {self.request_timeout:g} s", provider=self._provider_name
            ) from None

    async def _stream(self, body: dict[str, Any], sink: Any, progress: "_Progress") -> Answer:
        stream = sink.open(dspy.settings.caller_predict)
        answer: Answer | None = None
        async with aclosing(self.wire.stream(body)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    answer = piece
                else:
                    progress.note(await stream.feed(piece))
        progress.note(await stream.finish())
        if answer is None:
            raise lm15.StreamAssemblyError("the stream ended before the answer was complete")
        return answer

    def _record(self, answer: Answer) -> None:
        tracker = dspy.settings.usage_tracker
        if tracker is not None:
            tracker.add_usage(self.model, answer.usage)
        if (scope := current_scope()) is not None:
            scope.usage.add_cost(answer.cost)


class _Progress:
    """Whether a part of the answer went out to the caller already."""

    __slots__ = ("emitted",)

    def __init__(self) -> None:
        self.emitted = False

    def note(self, emitted: bool) -> None:
        """Remember that an event went out; DSPy then does not ask again in another format."""
        if emitted and not self.emitted:
            self.emitted = True
            stream_emitted()


def retry_delay(error: Any, attempt: int) -> float:
    """Return the seconds to wait before the next attempt: what the provider asks for, else 1, 2, 4 …"""
    hint = getattr(error, "retry_after", None)
    return min(hint if hint is not None and hint >= 0 else 2.0**attempt, _MAX_WAIT)


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["LeanLM", "retry_delay"]
