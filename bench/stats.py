"""Summaries of samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stats:
    """Minimum, median, 99th percentile and number of the samples, in the samples' unit."""

    min: float
    median: float
    p99: float
    count: int


def stats(samples: Sequence[float]) -> Stats:
    """Return the summary of the samples; percentiles by the nearest rank.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples: the measurement gave nothing")
    ordered = sorted(samples)
    return Stats(ordered[0], _rank(ordered, 0.5), _rank(ordered, 0.99), len(ordered))


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
