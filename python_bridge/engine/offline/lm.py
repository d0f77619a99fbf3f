"""A `dspy.LM` whose completions are made in this process: engine objects for DSPy's request and stream types."""

from __future__ import annotations  # not every version of dspy has the types

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import dspy

from python_bridge.engine.compat.lm import EngineLM
from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.offline.pieces import count_tokens, cut
from python_bridge.engine.offline.prompt import ChatMessage


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion.

    Attributes:
        text: the whole completion.
        pieces: the same text cut for streaming.
        prompt_tokens, completion_tokens: for the usage record.
        pause: called before each piece of a synchronous stream with the piece's number.
        apause: the same for asynchronous streams. Both may raise: the stream then fails there.
        paced: the pauses count for answers that are not streamed, too.
    """

    text: str
    pieces: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    pause: Callable[[int], None]
    apause: Callable[[int], Awaitable[None]]
    paced: bool = False


class Responder(Protocol):
    """Makes the completions. May raise `dspy.lm15` errors; DSPy makes its own of them (`dspy.LMRateLimitError`, …)."""

    def reply(self, request: lm15.Request) -> Reply: ...

    async def areply(self, request: lm15.Request) -> Reply: ...


class LocalEngine:
    """DSPy's synchronous engine contract over a responder."""

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def complete(self, request: lm15.Request) -> lm15.Response:
        reply = self._responder.reply(request)
        for number in range(len(reply.pieces) if reply.paced else 0):
            reply.pause(number)
        return _response(request, reply)

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        reply = self._responder.reply(request)
        yield lm15.StreamStartEvent(model=request.model)
        for number, piece in enumerate(reply.pieces):
            reply.pause(number)
            yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text=piece))
        yield _end(reply)

    def close(self) -> None:
        """Nothing is held open."""


class AsyncLocalEngine:
    """DSPy's asynchronous engine contract over a responder."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder

    async def complete(self, request: lm15.Request) -> lm15.Response:
        reply = await self.responder.areply(request)
        for number in range(len(reply.pieces) if reply.paced else 0):
            await reply.apause(number)
        return _response(request, reply)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        reply = await self.responder.areply(request)
        yield lm15.StreamStartEvent(model=request.model)
        for number, piece in enumerate(reply.pieces):
            await reply.apause(number)
            yield lm15.StreamDeltaEvent(delta=lm15.TextDelta(text=piece))
        yield _end(reply)

    async def aclose(self) -> None:
        """Nothing is held open."""


def local_lm(model: str, responder: Responder, **options: Any) -> dspy.LM:
    """Return a `dspy.LM` that answers by a responder; no retries nor cache of DSPy's unless `options` say so."""
    options = {"cache": False, "num_retries": 0, **options}
    return EngineLM(model, engine=LocalEngine(responder), async_engine=AsyncLocalEngine(responder), **options)


def messages_of(request: lm15.Request) -> list[ChatMessage]:
    """Return the texts of a request: the system message first. Images and the like are left out."""
    system = request.system
    parts = (
        system if isinstance(system, str) or system is None else "\n".join(getattr(part, "text", "") for part in system)
    )
    talk = [
        (message.role, "\n".join(getattr(part, "text", "") for part in message.parts)) for message in request.messages
    ]
    return [("system", parts), *talk] if parts else talk


def make_reply(messages: list[ChatMessage], text: str, *, delay: float = 0.0) -> Reply:
    """Return a reply whose usage is counted from the texts and whose stream waits `delay` seconds before each piece."""

    def pause(_number: int) -> None:
        if delay:
            time.sleep(delay)

    async def apause(_number: int) -> None:
        if delay:
            await anyio.sleep(delay)

    prompt_tokens = sum(count_tokens(content) for _, content in messages)
    return Reply(text, cut(text), prompt_tokens, count_tokens(text), pause, apause)


def _usage(reply: Reply) -> lm15.Usage:
    return lm15.Usage(input_tokens=reply.prompt_tokens, output_tokens=reply.completion_tokens)


def _response(request: lm15.Request, reply: Reply) -> lm15.Response:
    message = lm15.Message.assistant(reply.text)
    return lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=_usage(reply))


def _end(reply: Reply) -> lm15.StreamEndEvent:
    return lm15.StreamEndEvent(finish_reason="stop", usage=_usage(reply))


__all__ = [
    "AsyncLocalEngine",
    "LocalEngine",
    "Reply",
    "Responder",
    "local_lm",
    "make_reply",
    "messages_of",
]
