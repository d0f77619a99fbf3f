"""Counts and times of executions: bounded, cheap to add to, worked out when somebody asks."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import psutil
from cachetools import LRUCache

_KEPT = 10_000
_PROGRAMS = 256
_WINDOW_S = 60


class Statistics:
    """Statistics of one executor. Safe for threads. Percentiles are those of the last 10,000 executions."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._clear()

    def _clear(self) -> None:
        self._started = self._clock()
        self._total = self._successful = self._retries = self._fallbacks = 0
        self._sum = 0.0
        self._min, self._max = float("inf"), 0.0
        self._times: deque[float] = deque(maxlen=_KEPT)
        self._errors: Counter[str] = Counter()
        self._seconds: deque[tuple[int, int]] = deque(maxlen=_WINDOW_S)
        self._programs: LRUCache[str, list[int]] = LRUCache(_PROGRAMS)

    def add(self, program: str, seconds: float, error_kind: str | None, attempts: int, fallback: bool) -> None:
        """Count one execution."""
        with self._lock:
            self._total += 1
            row = self._programs.get(program)
            if row is None:
                row = self._programs[program] = [0, 0]
            row[0] += 1
            if error_kind is None:
                self._successful += 1
                row[1] += 1
            else:
                self._errors[error_kind] += 1
            self._retries += max(0, attempts - 1)
            self._fallbacks += fallback
            self._sum += seconds
            self._min = min(self._min, seconds)
            self._max = max(self._max, seconds)
            self._times.append(seconds)
            self._note_second(int(self._clock()))

    def _note_second(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self._clear()

    def times(self) -> list[float]:
        """Return the seconds of the last executions."""
        with self._lock:
            return list(self._times)

    def show(self) -> dict[str, Any]:
        """Return everything as plain data; times in seconds, `throughput` in executions a second of the last minute."""
        with self._lock:
            total, times = self._total, sorted(self._times)
            uptime = self._clock() - self._started
            recent = sum(count for second, count in self._seconds if second > self._clock() - _WINDOW_S)
            shown = {
                "total_executions": total,
                "successful_executions": self._successful,
                "failed_executions": total - self._successful,
                "success_rate": self._successful / total if total else 0.0,
                "average_execution_time": self._sum / total if total else 0.0,
                "min_execution_time": self._min if total else 0.0,
                "max_execution_time": self._max,
                **{f"p{share}_execution_time": _percentile(times, share) for share in (50, 95, 99)},
                "throughput": recent / max(1.0, min(uptime, _WINDOW_S)),
                "uptime": uptime,
                "retries": self._retries,
                "fallbacks": self._fallbacks,
                "errors": dict(self._errors),
                "programs": {name: {"total": row[0], "successful": row[1]} for name, row in self._programs.items()},
            }
        times_of_process = self._process.cpu_times()
        shown["memory_bytes"] = self._process.memory_info().rss
        shown["cpu_seconds"] = times_of_process.user + times_of_process.system
        return shown


def _percentile(ordered: list[float], share: int) -> float:
    """The nearest rank."""
    if not ordered:
        return 0.0
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


__all__ = ["Statistics"]
