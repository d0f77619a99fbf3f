"""The life of a worker: an explicit state machine that goes forwards only.

boot ──► ready ──► draining ──► stopped
  └───────────────────▲──────────▲
"""

import time
from enum import Enum


class Phase(Enum):
    """Where a worker stands; the value is what `worker/status` tells."""

    BOOT = "boot"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


_NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.BOOT: frozenset({Phase.READY, Phase.DRAINING, Phase.STOPPED}),
    Phase.READY: frozenset({Phase.DRAINING, Phase.STOPPED}),
    Phase.DRAINING: frozenset({Phase.STOPPED}),
    Phase.STOPPED: frozenset(),
}

EXIT_OK = 0
EXIT_RECYCLE = 75
"""EX_TEMPFAIL: the worker has reached a limit, finished what it had, and is to be replaced at once."""


class Lifecycle:
    """The phase of one worker.

    Attributes:
        ending: whether new work is refused; every request asks.
        reason: why it drains or stopped: ``"shutdown"``, ``"signal"``, ``"memory"``, …; ``None`` before that.
        since: `time.monotonic()` of the last change.
    """

    def __init__(self) -> None:
        self.phase = Phase.BOOT
        self.reason: str | None = None
        self.ending = False
        self.since = time.monotonic()

    def advance(self, phase: Phase, reason: str | None = None) -> bool:
        """Go to `phase` if that lies ahead; return whether it did. The first reason to end is the one that counts."""
        if phase not in _NEXT[self.phase]:
            return False
        self.phase = phase
        self.ending = phase in (Phase.DRAINING, Phase.STOPPED)
        self.since = time.monotonic()
        if self.reason is None:
            self.reason = reason
        return True


__all__ = ["EXIT_OK", "EXIT_RECYCLE", "Lifecycle", "Phase"]
