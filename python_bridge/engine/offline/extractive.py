"""The responder behind ``offline/extractive``."""

from __future__ import annotations  # not every version of dspy has the types

import time
from collections.abc import Sequence

import anyio

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.offline.answering import answer
from python_bridge.engine.offline.lm import Reply, make_reply, messages_of
from python_bridge.engine.offline.prompt import ChatMessage, read_prompt


class Extractive:
    """Answers requests out of their own text.

    Args:
        token_delay: seconds before each piece of a streamed answer.
        latency: seconds before an answer begins, streamed or not.
    """

    def __init__(self, *, token_delay: float = 0.02, latency: float = 0.0) -> None:
        if token_delay < 0 or latency < 0:
            raise ValueError(f"token_delay and latency are seconds, 0 or more; got {token_delay} and {latency}")
        self.token_delay = token_delay
        self.latency = latency

    def reply(self, request: lm15.Request) -> Reply:
        if self.latency:
            time.sleep(self.latency)
        return self._reply(messages_of(request))

    async def areply(self, request: lm15.Request) -> Reply:
        if self.latency:
            await anyio.sleep(self.latency)
        return self._reply(messages_of(request))

    def _reply(self, messages: Sequence[ChatMessage]) -> Reply:
        return make_reply(list(messages), answer(read_prompt(messages)), delay=self.token_delay)


__all__ = ["Extractive"]
