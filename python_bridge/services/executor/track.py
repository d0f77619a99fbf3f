"""What the tracker hears of an execution."""

from collections.abc import Callable
from typing import Any

from python_bridge.services.executor.execution import Execution
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.tracking.interface import Tracker


class TrackExecutions:
    """See `record.Track`."""

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker
        self.leave_out: Callable[[Any], bool] | None = getattr(tracker, "repeats", None)

    def wants_steps(self) -> bool:
        """Whether the next execution is to be recorded step by step."""
        return self._tracker is not None and self._tracker.wants_steps()

    def __call__(self, execution: Execution, result: ExecutionResult, started: float) -> None:
        """Tell of one execution."""
        if self._tracker is None:
            return
        metadata = result.metadata
        event: dict[str, Any] = {
            "id": execution.id,
            "program": result.program_name,
            "mode": execution.mode.value,
            "inputs": dict(execution.inputs),
            "outputs": result.outputs,
            "success": result.success,
            "error": result.error,
            "started": started,
            "seconds": result.execution_time,
            "metadata": {
                name: metadata[name] for name in ("cache", "attempts", "usage", "cost", "model") if name in metadata
            },
        }
        if execution.labels:
            event["labels"] = dict(execution.labels)
        if execution.instruments is not None:
            event["steps"] = execution.instruments.steps
        self._tracker.record(event)


__all__ = ["TrackExecutions"]
