"""One execution as spans: the program, and below it the steps that were recorded."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_TYPES = {"module": "CHAIN", "adapter.format": "PARSER", "adapter.parse": "PARSER", "lm": "CHAT_MODEL", "tool": "TOOL"}


@dataclass(frozen=True, slots=True)
class SpanData:
    """A span as plain data; times in nanoseconds since the epoch.

    Attributes:
        trace: 128-bit id; the same for the same execution, so that a batch that comes twice overwrites itself.
    """

    trace: int
    id: int
    parent: int | None
    name: str
    kind: str
    start: int
    end: int
    inputs: Any
    outputs: Any
    error: str | None
    usage: dict[str, int] | None = None
    cost: float | None = None
    tags: dict[str, str] = field(default_factory=dict[str, str])


def spans_of(event: dict[str, Any], tags: dict[str, str]) -> Iterator[SpanData]:
    """Give the spans of one execution, its own first.

    Args:
        tags: of the trace.
    """
    trace = _number(event["id"], 16)
    root = _number(f"{event['id']}/", 8)
    start = int(event["started"] * 1e9)
    steps: list[dict[str, Any]] = event.get("steps") or []
    usage = None if steps else _tokens(event.get("metadata", {}).get("usage"))
    yield SpanData(
        trace, root, None, event["program"], "CHAIN", start, start + int(event["seconds"] * 1e9), event["inputs"],
        event["outputs"], event["error"], usage, event.get("metadata", {}).get("cost"), tags
    )  # fmt: skip
    ids = {step["id"]: _number(step["id"], 8) for step in steps}
    for step in steps:
        begun = int(step["started"] * 1e9)
        yield SpanData(
            trace,
            ids[step["id"]],
            ids.get(step["parent"], root),
            f"{step['name']}.{step['kind'].partition('.')[2] or step['kind']}",
            _TYPES.get(step["kind"], "UNKNOWN"),
            begun,
            begun + int((step["duration"] or 0) * 1e9),
            step.get("messages") or step["inputs"],
            step["outputs"],
            step["error"],
            _tokens(step.get("tokens")),
            step.get("cost"),
        )


def _tokens(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, dict) or not usage.get("total_tokens"):
        return None
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "output_tokens": usage.get("completion_tokens", 0),
        "total_tokens": usage["total_tokens"],
    }


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big") or 1


__all__ = ["SpanData", "spans_of"]
