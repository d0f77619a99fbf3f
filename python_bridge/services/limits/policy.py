"""When a worker is to be replaced: pure, on samples."""

import random
from dataclasses import dataclass

from python_bridge.settings import Settings

_AGE_JITTER = 0.1  # workers that were started together must not end together
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What the monitor saw.

    Attributes:
        age_ms: of the process.
        abandoned: threads and tasks of cancelled calls that still run.
    """

    rss_bytes: int
    calls: int
    age_ms: float
    abandoned: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why the worker is to be replaced.

    Attributes:
        reason: ``"memory"``, ``"calls"``, ``"age"`` or ``"abandoned"``, as `worker/draining` tells it.
        text: for people, with the setting that it is about.
    """

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class RecyclePolicy:
    """Limits of one worker; 0 is none."""

    memory_soft_bytes: int = 0
    calls: int = 0
    age_ms: float = 0
    abandoned: int = 0
    memory_hard_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "RecyclePolicy":
        """Return the limits that the settings name, with jitter on the age."""
        age = settings.recycle_age_ms * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
        return cls(
            memory_soft_bytes=settings.memory_soft_bytes,
            calls=settings.recycle_calls,
            age_ms=age,
            abandoned=settings.max_abandoned,
            memory_hard_bytes=settings.memory_hard_bytes,
        )

    def over_memory(self, rss_bytes: int) -> bool:
        """Whether the soft limit is passed."""
        return 0 < self.memory_soft_bytes <= rss_bytes

    def far_over_memory(self, rss_bytes: int) -> bool:
        """Whether the hard limit is passed."""
        return 0 < self.memory_hard_bytes <= rss_bytes

    def judge(self, sample: Sample) -> Verdict | None:
        """Return why the worker is to be replaced, or ``None``."""
        if self.over_memory(sample.rss_bytes):
            sizes = f"{sample.rss_bytes / _MIB:.0f} MiB of {self.memory_soft_bytes / _MIB:.0f} MiB"
            return Verdict("memory", f"memory is above its soft limit: {sizes} (memory_soft_bytes)")
        if 0 < self.abandoned <= sample.abandoned:
            text = f"{sample.abandoned} threads or tasks of cancelled calls still run (max_abandoned)"
            return Verdict("abandoned", text)
        if 0 < self.calls <= sample.calls:
            return Verdict("calls", f"it has worked on {sample.calls} requests (recycle_calls)")
        if 0 < self.age_ms <= sample.age_ms:
            return Verdict("age", f"it is {sample.age_ms / 1000:.0f} s old (recycle_age_ms)")
        return None


__all__ = ["RecyclePolicy", "Sample", "Verdict"]
