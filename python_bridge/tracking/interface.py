"""What the services know of tracking."""

from typing import Any, Protocol


class Tracker(Protocol):
    """Hears of executions. None of its methods raises, and `record` takes microseconds."""

    def wants_steps(self) -> bool:
        """Whether the next execution is to be recorded with all of its steps; asking counts."""
        ...

    def record(self, event: dict[str, Any]) -> None:
        """Take one execution: `id`, `program`, `mode`, `inputs`, `outputs`, `success`, `error`, `started` (seconds
        since the epoch), `seconds`, `metadata`, and `labels`, `steps` when there are any."""
        ...

    def repeats(self, callback: Any) -> bool:
        """Whether one of DSPy's callbacks would write the same executions to the same place once more."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return how many were recorded, exported, dropped, quarantined, and what failed last."""
        ...

    def flush(self, timeout: float) -> bool:
        """Wait until everything recorded so far is exported; return whether it was in time."""
        ...

    def close(self) -> None:
        """Export what can be exported soon, and end; the rest waits on disk for the next start."""
        ...


class NullTracker:
    """Tracks nothing."""

    def wants_steps(self) -> bool:
        return False

    def record(self, event: dict[str, Any]) -> None:
        return None

    def repeats(self, callback: Any) -> bool:
        return False

    def stats(self) -> dict[str, Any]:
        return {"mode": "off"}

    def flush(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        return None


__all__ = ["NullTracker", "Tracker"]
