"""The end of every execution: its result, its place in the statistics, and what the tracker hears of it."""

import logging
import time
from collections.abc import Callable
from typing import Any

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution
from python_bridge.services.executor.model import ExecutionMode, ExecutionResult
from python_bridge.services.executor.statistics import Statistics
from python_bridge.services.observability.traces import current_trace_id
from python_bridge.wire.told import plain

logger = logging.getLogger("python_bridge.executor")

Track = Callable[[Execution, ExecutionResult, float], None]
"""Takes an execution, its result, and when it began (seconds since the epoch). Must not raise, and must be quick."""


class Recorder:
    """Makes results of outcomes.

    Args:
        track: tells the tracker, ``None`` for none.
    """

    def __init__(self, statistics: Statistics, track: Track | None) -> None:
        self._statistics = statistics
        self._track = track

    def succeed(self, execution: Execution, result: CallResult, started: float) -> ExecutionResult:
        """Return the result of an execution that began at `started` (`time.perf_counter`)."""
        seconds = time.perf_counter() - started
        outputs = plain(result.outputs)
        made = ExecutionResult(True, outputs, None, seconds, execution.target.name, _metadata(execution))
        made.metadata["cache"] = result.cache
        if execution.mode is not ExecutionMode.DRY_RUN:
            made.metadata.update(usage=result.usage, cost=result.cost, model=result.model, adapter=result.adapter)
            if result.completions is not None:
                made.metadata["completions"] = result.completions
        if logger.isEnabledFor(logging.DEBUG):
            text = "execution %s of %s took %.3f s"
            logger.debug(text, execution.id, execution.target.name, seconds, extra=_log_fields(execution))
        self._tell(execution, made, None)
        return made

    def fail(self, execution: Execution, error: BridgeError, started: float) -> ExecutionResult:
        """Return the result of an execution that failed."""
        seconds = time.perf_counter() - started
        made = ExecutionResult(False, {}, error.message, seconds, execution.target.name, _metadata(execution))
        made.metadata.update(cache="off", error_kind=error.kind, error_details=error.details)
        spent = error.details if "usage" in error.details else _spent(execution)
        made.metadata.update({name: spent[name] for name in ("usage", "cost") if name in spent})
        if error.retry_after is not None:
            made.metadata["retry_after"] = error.retry_after
        logger.warning(
            "execution %s of %s failed: %s",
            execution.id,
            execution.target.name,
            error.message,
            extra={"kind": error.kind, **_log_fields(execution)},
        )
        self._tell(execution, made, error.kind)
        return made

    def _tell(self, execution: Execution, result: ExecutionResult, kind: str | None) -> None:
        notes = execution.notes
        self._statistics.add(
            result.program_name, result.execution_time, kind, notes.get("attempts", 0), "fallback" in notes
        )
        if self._track is not None and execution.mode is not ExecutionMode.DRY_RUN:
            self._track(execution, result, time.time() - result.execution_time)


def _spent(execution: Execution) -> dict[str, Any]:
    """What an execution had paid LMs when it was ended from outside."""
    return execution.spending.told() if execution.spending is not None else {}


def _log_fields(execution: Execution) -> dict[str, Any]:
    fields: dict[str, Any] = {"execution_id": execution.id, **execution.labels}
    if "trace_id" not in fields and (trace := current_trace_id()) is not None:
        fields["trace_id"] = trace
    return fields


def _metadata(execution: Execution) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "execution_id": execution.id,
        "mode": execution.mode.value,
        "signature": execution.target.signature,
        **execution.labels,
        **execution.notes,
    }
    if execution.tenant is not None:
        metadata["tenant"] = execution.tenant
    if execution.mode is ExecutionMode.DEBUG:
        metadata["debug_trace"] = execution.instruments.steps if execution.instruments is not None else []
    return metadata


__all__ = ["Recorder", "Track", "logger"]
