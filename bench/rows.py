"""One line of a benchmark: what a program measured, its ratio to the baseline, and what we go for."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.stats import Stats, stats

TOLERANCE = 0.25
_GOAL = re.compile(r"(ratio|value) (<=|>=) ([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Row:
    """What one row of the table and of `results.jsonl` holds.

    Attributes:
        id: id of a goal (``"P1"``) or ``""`` for rows that have none.
        value: our median, in `unit`; `min`, `p99` and `count` belong to it.
        baseline: the baseline's median in the same unit, or None where the goal is absolute.
        ratio: value ÷ baseline.
        goal: like ``"ratio <= 2.0"``; ``""`` when the row only informs.
        ok: whether the goal is reached; None without a goal.
        better: ``"lower"`` or ``"higher"``: which ratio is the better one.
    """

    id: str
    name: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    goal: str
    ok: bool | None
    min: float
    p99: float
    count: int
    better: str

    @property
    def key(self) -> str:
        """How `ratios.json` calls this row."""
        return f"{self.id} {self.name}".strip()

    def to_json(self) -> str:
        """Return the row as one line of JSON."""
        return json.dumps(asdict(self))


def row_from(report: Mapping[str, Any]) -> Row:
    """Make a row of what a measuring program printed.

    A report has `id`, `name`, `unit`, `goal`, and `samples` and `baseline` as lists of numbers in the unit
    (`baseline` may be absent). `better` says which ratio is better where the goal does not.

    Raises:
        ValueError: a list is empty, or the goal can't be read.
    """
    ours = stats(report["samples"])
    theirs = stats(report["baseline"]) if report.get("baseline") is not None else None
    ratio = ours.median / theirs.median if theirs else None
    goal = str(report.get("goal", ""))
    return Row(
        id=str(report.get("id", "")),
        name=str(report["name"]),
        value=ours.median,
        unit=str(report["unit"]),
        baseline=theirs.median if theirs else None,
        ratio=ratio,
        goal=goal,
        ok=reached(goal, ours, ratio),
        min=ours.min,
        p99=ours.p99,
        count=ours.count,
        better=str(report.get("better") or ("higher" if ">=" in goal else "lower")),
    )


def reached(goal: str, ours: Stats, ratio: float | None) -> bool | None:
    """Tell whether the goal holds; None without a goal.

    Raises:
        ValueError: the goal is not of the form ``ratio <= 2.0`` or ``value >= 20000``, or asks for a ratio without one.
    """
    if not goal:
        return None
    found = _GOAL.fullmatch(goal)
    if not found:
        raise ValueError(f"the goal {goal!r} can't be read; write it like 'ratio <= 2.0' or 'value >= 20000'")
    measured = ratio if found[1] == "ratio" else ours.median
    if measured is None:
        raise ValueError(f"the goal {goal!r} asks for a ratio, and the row has no baseline")
    return measured <= float(found[3]) if found[2] == "<=" else measured >= float(found[3])


def regression(row: Row, committed: Mapping[str, Any]) -> str | None:
    """Return what to tell when the row's ratio is a quarter worse than the committed one; else None.

    Args:
        committed: `ratios.json`: key of a row → `{ratio, better}`, where `better` is ``"lower"`` or ``"higher"``.
    """
    entry = committed.get(row.key)
    if entry is None or row.ratio is None:
        return None
    limit = entry["ratio"] * (1 + TOLERANCE if entry["better"] == "lower" else 1 - TOLERANCE)
    worse = row.ratio > limit if entry["better"] == "lower" else row.ratio < limit
    if not worse:
        return None
    return f"{row.key}: ratio {row.ratio:.3g}, committed {entry['ratio']:.3g}, {entry['better']} is better"
