"""One state of all processes: counts are summed, times are those of all."""

from collections.abc import Sequence
from typing import Any

_SUMS = ("total_executions", "successful_executions", "failed_executions", "throughput", "retries", "fallbacks")
_MORE_SUMS = ("memory_bytes", "cpu_seconds", "abandoned", "running", "history_dropped")
_RATES = {"hit_rate": ("hits", "misses")}


def together(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics of all processes as those of one are shown, and `processes`: some of each.

    Args:
        states: of each process `pid`, `stats`, and `times` (seconds of its last executions).
    """
    stats = [state["stats"] for state in states]
    total = sum(one["total_executions"] for one in stats)
    times = sorted(seconds for state in states for seconds in state["times"])
    working = [one for one in stats if one["total_executions"]]
    spent = sum(one["average_execution_time"] * one["total_executions"] for one in stats)
    shown = {
        **stats[0],
        **{name: sum(one[name] for one in stats) for name in (*_SUMS, *_MORE_SUMS)},
        "success_rate": sum(one["successful_executions"] for one in stats) / total if total else 0.0,
        "average_execution_time": spent / total if total else 0.0,
        "min_execution_time": min((one["min_execution_time"] for one in working), default=0.0),
        "max_execution_time": max(one["max_execution_time"] for one in stats),
        **{f"p{share}_execution_time": _percentile(times, share) for share in (50, 95, 99)},
        "uptime": max(one["uptime"] for one in stats),
        **{name: _summed([one[name] for one in stats]) for name in ("errors", "programs", "cache", "tracking")},
    }
    return {**shown, "processes": [_process(state) for state in sorted(states, key=lambda state: state["pid"])]}


def _process(state: dict[str, Any]) -> dict[str, Any]:
    stats = state["stats"]
    names = ("running", "total_executions", "memory_bytes", "uptime")
    return {"pid": state["pid"], "connections": state["connections"], **{name: stats[name] for name in names}}


def _summed(parts: Sequence[Any]) -> Any:
    """Sum maps of numbers and of such maps; of what is no number the last one that says something."""
    if all(isinstance(part, dict) for part in parts):
        names = list(dict.fromkeys(name for part in parts for name in part))
        summed = {name: _summed([part[name] for part in parts if name in part]) for name in names}
        for rate, (hits, misses) in _RATES.items():
            if rate in summed:
                asked = summed[hits] + summed[misses]
                summed[rate] = summed[hits] / asked if asked else 0.0
        return summed
    if all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts):
        return sum(parts)
    return next((part for part in reversed(parts) if part is not None), None)


def _percentile(ordered: list[float], share: int) -> float:
    """The nearest rank."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)] if ordered else 0.0


__all__ = ["together"]
