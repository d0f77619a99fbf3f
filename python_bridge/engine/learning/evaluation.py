"""A program over many examples: a score each, and their mean."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from python_bridge.engine.compiled import Compiled
from python_bridge.engine.interface import CallContext, CallOptions, CallResult, Progress
from python_bridge.engine.learning.metrics import Metric
from python_bridge.errors import BridgeError

_TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens", "lm_calls")


@dataclass(frozen=True, slots=True)
class Example:
    """Inputs of one call, and the outputs that are expected of it."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]

    @classmethod
    def from_map(cls, item: Any, index: int, member: str = "examples") -> "Example":
        """Read `{"inputs": …, "outputs": …}`.

        Raises:
            BridgeError: `invalid_input` that names the example.
        """
        parts = item.values() if isinstance(item, Mapping) and set(item) == {"inputs", "outputs"} else [None]
        if all(isinstance(part, Mapping) for part in parts):
            return cls(item["inputs"], item["outputs"])
        raise BridgeError("invalid_input", f"`{member}.{index}` must be a map of the maps `inputs` and `outputs`")


@dataclass(frozen=True, slots=True)
class Scored:
    """One example's outcome: `outputs` and `score`; after an `error` the score is 0, and `outputs` are there only where
    it was the metric that failed.
    """

    index: int
    score: float
    outputs: dict[str, Any] | None = None
    error: BridgeError | None = None
    usage: Mapping[str, Any] | None = None
    cost: float | None = None

    def to_map(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        error = self.error and self.error.to_object()
        return {"index": self.index, "score": self.score, "outputs": self.outputs, "error": error}


async def evaluate(
    program: Compiled,
    examples: Sequence[Example],
    metric: Metric,
    *,
    concurrency: int = 8,
    options: CallOptions | None = None,
    context: CallContext | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the program over all examples, each once: `{score, total, failed, usage, cost, results}`, in their order.

    A failed example counts 0. Cancelling the task cancels what runs.

    Args:
        concurrency: examples under way at a time.
        progress: told after every example.
    """
    places = asyncio.Semaphore(concurrency)
    done, points = 0, 0.0
    base = context or CallContext("evaluate")

    async def one(index: int, example: Example) -> Scored:
        nonlocal done, points
        async with places:
            scored = await _score(program, example, index, metric, options or CallOptions(), base)
        done, points = done + 1, points + scored.score
        if progress is not None:
            await progress(done, len(examples), points / done)
        return scored

    tasks = [asyncio.ensure_future(one(index, example)) for index, example in enumerate(examples)]
    try:
        results = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return _summary(results)


async def _score(
    program: Compiled, example: Example, index: int, metric: Metric, options: CallOptions, base: CallContext
) -> Scored:
    context = replace(base, request_id=f"{base.request_id}-{index}", emit=None)
    result: CallResult | None = None
    try:
        result = await program.call(dict(example.inputs), options, context)
        score = await metric(example.inputs, example.outputs, result.outputs)
    except BridgeError as error:
        spent = (result.usage, result.cost) if result else (None, None)
        return Scored(index, 0.0, result and result.outputs, error, *spent)
    return Scored(index, score, result.outputs, None, result.usage, result.cost)


def _summary(results: Sequence[Scored]) -> dict[str, Any]:
    total = len(results)
    return {
        "score": sum(item.score for item in results) / total if total else 0.0,
        "total": total,
        "failed": sum(item.error is not None for item in results),
        "usage": {name: sum(item.usage[name] for item in results if item.usage is not None) for name in _TOKENS},
        "cost": sum(costs) if (costs := [item.cost for item in results if item.cost is not None]) else None,
        "results": [item.to_map() for item in results],
    }


__all__ = ["Example", "Scored", "evaluate"]
