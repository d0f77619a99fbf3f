"""Looks at the worker from its own event loop: memory, load, and how late the loop is."""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.health import rss_bytes
from python_bridge.services.lifecycle import EXIT_RECYCLE
from python_bridge.services.limits.policy import RecyclePolicy, Sample, Verdict

_log = logging.getLogger(__name__)


class Monitor:
    """Looks every `period_ms`, tells those who listen, and has the worker replaced when it is over a limit.

    Args:
        abandoned_threads: gives how many threads of cancelled calls still run in the engine.
        grace_ms: for requests in flight when the worker is to be replaced.

    Attributes:
        lag_ms: how late the loop was at the last look.
        max_lag_ms: how late it has been at worst.
        peak_rss_bytes: the most memory that a look has found.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        policy: RecyclePolicy,
        abandoned_threads: Callable[[], int],
        *,
        period_ms: int,
        grace_ms: int,
    ) -> None:
        self.policy = policy
        self.lag_ms = 0.0
        self.max_lag_ms = 0.0
        self.peak_rss_bytes = 0
        self._dispatcher = dispatcher
        self._abandoned_threads = abandoned_threads
        self._period_s = period_ms / 1000
        self._grace_ms = grace_ms
        self._started = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._threads_before = 0

    def start(self) -> None:
        """Begin to look."""
        self._due = self._dispatcher.loop.time() + self._period_s
        self._timer = self._dispatcher.loop.call_at(self._due, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def status(self) -> dict[str, Any]:
        """Return what `worker/status` tells of memory and of the event loop."""
        return {
            "peak_rss_bytes": max(self.peak_rss_bytes, rss_bytes()),
            "memory_soft_bytes": self.policy.memory_soft_bytes,
            "loop_lag_ms": self.lag_ms,
            "max_loop_lag_ms": self.max_lag_ms,
        }

    def abandoned(self) -> int:
        """Return how many threads and tasks of cancelled calls still run."""
        return len(self._dispatcher.abandoned) + self._abandoned_threads()

    def sample(self) -> Sample:
        """Return what there is to see now."""
        rss = rss_bytes()
        self.peak_rss_bytes = max(self.peak_rss_bytes, rss)
        age_ms = (time.monotonic() - self._started) * 1000
        return Sample(rss, self._dispatcher.calls, age_ms, self.abandoned())

    def _look(self) -> None:
        self.lag_ms = round(max(0.0, self._dispatcher.loop.time() - self._due) * 1000, 3)
        self.max_lag_ms = max(self.max_lag_ms, self.lag_ms)
        self.start()
        sample = self.sample()
        if self._dispatcher.observer is not None:
            self._tell(sample)
        if self.policy.far_over_memory(sample.rss_bytes):
            text = "this worker ends at once: %d bytes of memory are above its hard limit of %d (memory_hard_bytes)"
            _log.error(text, sample.rss_bytes, self.policy.memory_hard_bytes, extra={"reason": "memory"})
            os.kill(os.getpid(), signal.SIGKILL)
        if self._dispatcher.draining:
            return
        verdict = self.policy.judge(self._lasting(sample))
        if verdict is not None and verdict.reason == "memory" and not self.policy.over_memory(give_back_memory()):
            verdict = None
        if verdict is not None:
            self._recycle(verdict)

    def _lasting(self, sample: Sample) -> Sample:
        """Many calls that are cancelled at once need a moment to end: only what had the time of a look is abandoned."""
        since = self._dispatcher.loop.time() - self._period_s
        tasks = sum(answered <= since for answered in self._dispatcher.abandoned.values())
        before, self._threads_before = self._threads_before, sample.abandoned - len(self._dispatcher.abandoned)
        return replace(sample, abandoned=tasks + min(before, self._threads_before))

    def _recycle(self, verdict: Verdict) -> None:
        text = "this worker is to be replaced: %s; it finishes what it has within %d ms and ends with status %d"
        _log.warning(text, verdict.text, self._grace_ms, EXIT_RECYCLE, extra={"reason": verdict.reason})
        self._dispatcher.drain(self._grace_ms, verdict.reason, EXIT_RECYCLE)

    def _tell(self, sample: Sample) -> None:
        observer, admission = self._dispatcher.observer, self._dispatcher.admission
        if observer is None:
            return
        load = {"running": admission.running, "queued": admission.queued, "abandoned": sample.abandoned}
        observer.broadcast("worker.queue", load)
        memory = {"rss_bytes": sample.rss_bytes, "soft_limit_bytes": self.policy.memory_soft_bytes}
        observer.broadcast("worker.memory", memory)
        observer.broadcast("worker.loop", {"lag_ms": self.lag_ms})


def give_back_memory() -> int:
    """Collect garbage, give free memory back to the system, and return the resident memory that is left."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # other C libraries than glibc have no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
    return rss_bytes()


__all__ = ["Monitor", "give_back_memory"]
