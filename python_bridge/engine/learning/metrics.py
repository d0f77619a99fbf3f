"""Metrics: what a prediction is worth beside the expected outputs."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dspy.evaluate.metrics import f1_score, normalize_text

from python_bridge.engine.interface import ToolCaller
from python_bridge.errors import BridgeError

Metric = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], Awaitable[float]]
"""`await metric(inputs, expected, outputs)` → a score; 1.0 is right."""


def _exact(expected: Any, given: Any) -> float:
    if isinstance(expected, str) and isinstance(given, str):
        return float(normalize_text(expected) == normalize_text(given))
    return float(expected == given)


def _f1(expected: Any, given: Any) -> float:
    return float(f1_score(str(given), str(expected)))


def _contains(expected: Any, given: Any) -> float:
    return float(normalize_text(str(expected)) in normalize_text(str(given)))


NAMED: dict[str, Callable[[Any, Any], float]] = {"exact_match": _exact, "f1": _f1, "contains": _contains}


def named_metric(name: str) -> Metric:
    """Return the mean of a named comparison over the expected outputs.

    Raises:
        BridgeError: `invalid_input` for unknown names.
    """
    if (compare := NAMED.get(name)) is None:
        raise BridgeError("invalid_input", f"the metric {name!r} is not known; use {', '.join(NAMED)}, or a tool")

    async def metric(_inputs: Mapping[str, Any], expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
        scores = [compare(value, outputs.get(field)) for field, value in expected.items()]
        return sum(scores) / len(scores) if scores else 0.0

    return metric


def client_metric(tool: str, call_tool: ToolCaller, request_id: str, timeout: float | None = None) -> Metric:
    """Return a metric that asks the client: its arguments are `inputs`, `expected`, `outputs`, its value a number."""
    count = 0

    async def metric(inputs: Mapping[str, Any], expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
        nonlocal count
        count += 1
        arguments = {"inputs": dict(inputs), "expected": dict(expected), "outputs": dict(outputs)}
        value = await call_tool(tool, arguments, f"{request_id}-metric-{count}", timeout)
        if isinstance(value, bool | int | float) and math.isfinite(value):
            return float(value)
        raise BridgeError("tool_error", f"the metric `{tool}` must give a number, not {value!r:.80}")

    return metric


__all__ = ["NAMED", "Metric", "client_metric", "named_metric"]
