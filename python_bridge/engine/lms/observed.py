"""Tells of LM calls to whoever wants to know: how long they took and what they used, not what was said."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from python_bridge.engine.lms.answers import Answer
from python_bridge.engine.scope import current_scope

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


async def observed(model: str, attempt: int, asking: Awaitable[Answer]) -> Answer:
    """Await an answer of an LM; tell ``lm.stop`` or ``lm.exception`` when the call is observed.

    Args:
        attempt: counts from 0.
    """
    scope = current_scope()
    observe = None if scope is None else scope.context.observe
    if observe is None:
        return await asking
    started = time.perf_counter()
    metadata: dict[str, Any] = {"model": model, "attempt": attempt}
    try:
        answer = await asking
    except (Exception, asyncio.CancelledError) as error:
        observe("lm.exception", {"duration_ms": _since(started)}, {**metadata, "error": type(error).__name__})
        raise
    tokens = {name: answer.usage.get(name) for name in _TOKENS}
    observe("lm.stop", {"duration_ms": _since(started), **tokens}, metadata)
    return answer


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


__all__ = ["observed"]
