"""A `dspy.LM` that stays on the loop: no thread hops, our own retries, streaming with backpressure.

DSPy's own `LM.acall` goes through a thread two to four times a call. This one makes the request and reads the
response in place, by an engine with `complete` and `stream` (`dspy.lm15`'s contract).
"""

import asyncio
from contextlib import aclosing
from typing import Any

import dspy
from dspy import lm15
from dspy._vendor.lm15.result import StreamAccumulator
from dspy.clients.call_context import stream_emitted
from dspy.clients.call_result import legacy_output, usage_dict
from dspy.clients.engines.stream_guard import achecked_stream
from dspy.clients.errors import error_boundary
from dspy.lm15 import request_from_openai_chat
from dspy.utils.callback import with_callbacks
from dspy.utils.exceptions import is_retryable_lm_error

from python_bridge.engine.lms.pricing import price
from python_bridge.engine.lms.response_format import response_format
from python_bridge.engine.scope import current_scope

_MAX_WAIT = 60.0
_NOT_SENT = ("n", "num_generations", "rollout_id", "cache", "prompt_cache")


class LeanLM(dspy.LM):
    """An LM over an asynchronous engine.

    Args:
        model: as in `dspy.LM`.
        engine, async_engine: `dspy.lm15` engines; the synchronous one is used outside of calls only.
        retries: how often an error that may pass is tried again, waiting `Retry-After` or 1, 2, 4 … seconds.
        timeout: seconds for one request, a stream's start included; ``None`` leaves it to the engine.
        options: default parameters (`temperature`, `max_tokens`, …).
    """

    def __init__(
        self,
        model: str,
        *,
        engine: Any,
        async_engine: Any,
        retries: int = 0,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, engine=engine, async_engine=async_engine, cache=False, num_retries=0, **options)
        self.retries = retries
        self._engine_in_loop: Any = async_engine
        self.request_timeout = timeout

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Run on the call's loop when a module calls from a thread, so that a cancel reaches the request."""
        scope = current_scope()
        if scope is None or _on_loop():
            return super().__call__(prompt, messages=messages, **kwargs)
        scope.check()
        return asyncio.run_coroutine_threadsafe(self.acall(prompt, messages=messages, **kwargs), scope.loop).result()

    @with_callbacks
    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Return the outputs of a legacy call: a list of texts, or of maps where there is more than text."""
        if isinstance(prompt, lm15.Request) or "request" in kwargs:
            return await super().acall(prompt, messages=messages, **kwargs)
        body = {**self.kwargs, **kwargs}
        count = body.get("n") or body.get("num_generations") or 1
        with error_boundary(self.model, provider=self._provider_name):
            request = self._request(prompt, messages, body)
        if count == 1:
            return [await self._candidate(request, body)]
        return await self._candidates(request, body, count)

    def _request(self, prompt: Any, messages: Any, body: dict[str, Any]) -> lm15.Request:
        sent = {key: value for key, value in body.items() if value is not None and key not in _NOT_SENT}
        if "response_format" in sent:
            sent["response_format"] = response_format(sent["response_format"])
        return request_from_openai_chat(
            {"model": self.model, "messages": messages or [{"role": "user", "content": prompt}], **sent}
        )

    async def _candidates(self, request: lm15.Request, body: dict[str, Any], count: int) -> list[Any]:
        """Ask for several answers at once. Only the first one streams: a stream has one text a field."""
        first = asyncio.ensure_future(self._candidate(request, body))
        with dspy.context(send_stream=None):
            rest = [asyncio.ensure_future(self._candidate(request, body)) for _ in range(count - 1)]
        tasks = [first, *rest]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _candidate(self, request: lm15.Request, body: dict[str, Any]) -> Any:
        response = await self._with_retries(request)
        self._record(response)
        output = legacy_output(response, logprobs=bool(body.get("logprobs")))
        return output["text"] if len(output) == 1 else output

    async def _with_retries(self, request: lm15.Request) -> lm15.Response:
        attempt = 0
        while True:
            progress = _Progress()
            try:
                with error_boundary(self.model, provider=self._provider_name, unexpected=True):
                    return await self._attempt(request, progress)
            except Exception as error:
                if attempt >= self.retries or progress.emitted or not is_retryable_lm_error(error):
                    raise
                await asyncio.sleep(_delay(error, attempt))
            attempt += 1

    async def _attempt(self, request: lm15.Request, progress: "_Progress") -> lm15.Response:
        sink = dspy.settings.send_stream
        if sink is not None:
            return await self._stream(request, sink, progress)
        try:
            async with asyncio.timeout(self.request_timeout):
                return await self._engine_in_loop.complete(request)
        except TimeoutError:
            raise lm15.TimeoutError(
                f"no answer within {self.request_timeout} s", provider=self._provider_name
            ) from None

    async def _stream(self, request: lm15.Request, sink: Any, progress: "_Progress") -> lm15.Response:
        accumulator = StreamAccumulator(request)
        answer = sink.open(dspy.settings.caller_predict)
        # Closes the engine's stream, and so the provider's connection, when this task is cancelled.
        events = achecked_stream(self._engine_in_loop.stream(request), provider=self._provider_name)
        async with aclosing(events):
            async for event in events:
                accumulator.push(event)
                if event.type == "delta" and event.delta.type == "text":
                    progress.note(await answer.feed(event.delta.text))
        progress.note(await answer.finish())
        return accumulator.response()

    def _record(self, response: lm15.Response) -> None:
        tracker = dspy.settings.usage_tracker
        if tracker is not None:
            tracker.add_usage(self.model, usage_dict(response, self._provider_name))
            if (scope := current_scope()) is not None:
                scope.usage.add_cost(price(self, response))


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


def _delay(error: Any, attempt: int) -> float:
    hint = getattr(error, "retry_after", None)
    return min(hint if hint is not None and hint >= 0 else 2.0**attempt, _MAX_WAIT)


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


__all__ = ["LeanLM"]
