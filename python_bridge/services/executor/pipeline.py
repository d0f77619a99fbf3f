"""The steps put together, for one event loop."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from python_bridge.engine.interface import CallResult
from python_bridge.engine.targets.interface import Target
from python_bridge.errors import BridgeError
from python_bridge.services.executor.breaker import Breakers
from python_bridge.services.executor.caching import Caching, find_key, wants_cache
from python_bridge.services.executor.deadline import Deadline
from python_bridge.services.executor.engine_step import EngineStep
from python_bridge.services.executor.execution import Execution, Step, compose
from python_bridge.services.executor.fallback import Alternatives, rescue
from python_bridge.services.executor.limits import enforce
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.services.executor.record import Recorder
from python_bridge.services.executor.result_cache import ResultCache
from python_bridge.services.executor.retry import Retry
from python_bridge.services.executor.validate import check, validate
from python_bridge.services.faults import to_bridge_error


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipelines of one executor share."""

    retry: Retry
    breakers: Breakers
    cache: ResultCache | None
    recorder: Recorder


class Pipeline:
    """deadline → validate → cache → fallback → retry(breaker → limits → engine) → record.

    Args:
        targets: makes targets and instruments for this loop.
        resolve: makes a target of another program or a model id.
    """

    def __init__(self, parts: Parts, targets: Any, resolve: Callable[[Any], Target]) -> None:
        self._parts = parts
        self.targets = targets
        self.deadline = Deadline()
        caching: list[Step] = [Caching(parts.cache)] if parts.cache is not None else []
        steps: list[Step] = [
            self.deadline,
            validate,
            *caching,
            Alternatives(resolve),
            parts.retry,
            parts.breakers,
            enforce,
        ]
        self._way = compose(steps, EngineStep(targets))

    @property
    def abandoned(self) -> int:
        """Executions and threads that were given up and still run."""
        return self.deadline.abandoned + self.targets.abandoned

    async def run(self, execution: Execution) -> ExecutionResult:
        """Run an execution; failures are results too."""
        started = time.perf_counter()
        parts = self._parts
        try:
            result = await self._way(execution)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            error = BridgeError("program_error", "the program raised CancelledError, and nobody had cancelled it")
            return parts.recorder.fail(execution, error, started)
        except Exception as exception:
            error = to_bridge_error(exception, f"executing {execution.target.name}")
            saved = rescue(execution, error, parts.cache)
            if saved is None:
                return parts.recorder.fail(execution, error, started)
            result = saved
        return parts.recorder.succeed(execution, result, started)

    def at_once(self, execution: Execution) -> ExecutionResult | None:
        """Return the result if it can be told without a loop: from memory, or inputs that do not fit."""
        cache = self._parts.cache
        if cache is None or not wants_cache(execution):
            return None
        started = time.perf_counter()
        try:
            check(execution)
            key = find_key(execution)
            found: CallResult | None = cache.get(key.digest, count=False) if key is not None else None
        except Exception as exception:
            error = to_bridge_error(exception, f"executing {execution.target.name}")
            return self._parts.recorder.fail(execution, error, started)
        return None if found is None else self._parts.recorder.succeed(execution, found, started)


__all__ = ["Parts", "Pipeline"]
