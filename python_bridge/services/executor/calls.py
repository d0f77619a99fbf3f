"""The executor of a worker: `module.call` and `call` go the way of the pipeline, and answer with predictions."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from python_bridge.engine.interface import CallContext, CallOptions, CallResult, CompiledProgram
from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import ExecutionParams, LimitsParams
from python_bridge.protocol.params import read_params
from python_bridge.services.executor.breaker import Breaker, Breakers
from python_bridge.services.executor.caching import Caching
from python_bridge.services.executor.deadline import Deadline
from python_bridge.services.executor.engine_step import EngineStep
from python_bridge.services.executor.execution import Execution, ExecutionLimits, Step, compose
from python_bridge.services.executor.fallback import PARTIAL, STALE, Alternatives, FallbackLM, rescue
from python_bridge.services.executor.limits import enforce
from python_bridge.services.executor.model import ExecutionMode
from python_bridge.services.executor.record import Recorder
from python_bridge.services.executor.result_cache import ResultCache
from python_bridge.services.executor.retry import Retry
from python_bridge.services.executor.statistics import Statistics
from python_bridge.services.executor.track import TrackExecutions
from python_bridge.services.executor.validate import validate_all
from python_bridge.services.faults import to_bridge_error
from python_bridge.services.observability.traces import trace_id
from python_bridge.settings import Settings
from python_bridge.tracking.interface import Tracker

MAX_RETRIES = 10
MAX_FALLBACKS = 8
_HANDLE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ExecutionOptions:
    """What a call wants of the executor; see `options.execution` in `proto/PROTOCOL.md`.

    Attributes:
        timeout: seconds for the program, with what is done when it fails beyond them.
        track: whether the tracker hears of it.
    """

    cache: bool = True
    retries: int = 0
    timeout: float | None = None
    fallback: tuple[Any, ...] = ()
    limits: ExecutionLimits = field(default_factory=ExecutionLimits)
    debug: bool = False
    track: bool = True


class CallExecutor:
    """Runs programs for the calls of a worker. What is not switched on costs a call nothing.

    Args:
        settings: the cache's size and time to live, the circuit breaker.
        resolve: gives the program of a handle, for fallbacks.
        tracker: hears of every call, ``None`` for none.

    Attributes:
        statistics: of all calls.
        cache: ``None`` where the settings have none.
    """

    def __init__(
        self, settings: Settings, resolve: Callable[[str], CompiledProgram], tracker: Tracker | None = None
    ) -> None:
        self.statistics = Statistics()
        self.tracker = tracker
        self._track = TrackExecutions(tracker)
        self._recorder = Recorder(Statistics(), self._track)
        self.cache: ResultCache | None = None
        steps: list[Step] = [Deadline(), validate_all]
        if settings.result_cache_bytes:
            ttl = settings.result_cache_ttl_ms / 1000
            self.cache = ResultCache(max_bytes=settings.result_cache_bytes, ttl=ttl)
            steps.append(Caching(self.cache))
        steps += [Alternatives(lambda choice: resolve(choice).target), Retry(0)]
        if settings.lm_breaker_failures:
            failures, reset_after = settings.lm_breaker_failures, settings.lm_breaker_ms / 1000
            steps.append(Breakers(lambda: Breaker(failures, reset_after)))
        last = EngineStep(_Instruments())
        self._way = compose([*steps, enforce], last)
        self._short = compose([validate_all], last)
        self._plain = self.cache is None and not settings.lm_breaker_failures and tracker is None

    async def run(
        self,
        program: CompiledProgram,
        inputs: dict[str, Any],
        options: CallOptions,
        context: CallContext,
        wanted: ExecutionOptions | None = None,
    ) -> CallResult:
        """Run a program once.

        Raises:
            BridgeError: what `CompiledProgram.call` raises; `limit_exceeded`; `unavailable` while a breaker is open.
        """
        execution = Execution(context.request_id, program.target, inputs, options, context=context)
        started = time.perf_counter()
        try:
            if wanted is None and self._plain:
                result = await self._short(execution)
            else:
                result = await self._run(execution, wanted or ExecutionOptions(), started)
        except BridgeError as error:
            self._count(execution, started, error.kind)
            raise
        self._count(execution, started, None)
        return result

    def stats(self) -> dict[str, Any]:
        """Return what `worker/status` tells of executions; times in milliseconds."""
        shown = self.statistics.show()
        told: dict[str, Any] = {
            "total": shown["total_executions"],
            "failed": shown["failed_executions"],
            "errors": shown["errors"],
            **{f"p{share}_ms": round(shown[f"p{share}_execution_time"] * 1000, 3) for share in (50, 95, 99)},
        }
        if self.cache is not None:
            told["cache"] = self.cache.stats()
        if self.tracker is not None:
            told["tracking"] = self.tracker.stats()
        return told

    def close(self) -> None:
        """Give the tracker what it lacks. May block for a moment."""
        if self.tracker is not None:
            self.tracker.close()

    async def _run(self, execution: Execution, wanted: ExecutionOptions, started: float) -> CallResult:
        self._prepare(execution, wanted)
        try:
            result = await self._way(execution)
        except BridgeError as error:
            saved = rescue(execution, error, self.cache)
            if saved is None:
                if wanted.track and self.tracker is not None:
                    self._recorder.fail(execution, error, started)
                raise
            result = saved
        except Exception as exception:  # told as any other failure of the call is
            if wanted.track and self.tracker is not None:
                error = to_bridge_error(exception, f"executing {execution.target.name}")
                self._recorder.fail(execution, error, started)
            raise
        if wanted.track and self.tracker is not None:
            self._recorder.succeed(execution, result, started)
        if execution.notes.get("attempts", 1) > 1 or "fallback" in execution.notes or wanted.debug:
            result.notes = dict(execution.notes)
            if wanted.debug:
                result.notes["debug_trace"] = [] if execution.instruments is None else execution.instruments.steps
        return result

    def _prepare(self, execution: Execution, wanted: ExecutionOptions) -> None:
        context = execution.context
        streams = context is not None and context.emit is not None  # a kept answer has no tokens to stream
        execution.mode = ExecutionMode.DEBUG if wanted.debug else ExecutionMode.NORMAL
        execution.tenant = None if context is None else context.tenant
        execution.use_cache = self.cache is not None and wanted.cache and not streams
        execution.use_cache = execution.use_cache and not execution.target.asks_client
        execution.timeout, execution.retries = wanted.timeout, wanted.retries
        execution.fallback, execution.limits = wanted.fallback, wanted.limits
        tracked = wanted.track and self.tracker is not None
        execution.record_steps = PARTIAL in wanted.fallback or (tracked and self._track.wants_steps())
        if tracked and context is not None:
            execution.labels = _labels(context)

    def _count(self, execution: Execution, started: float, kind: str | None) -> None:
        seconds, notes = time.perf_counter() - started, execution.notes
        self.statistics.add(execution.target.name, seconds, kind, notes.get("attempts", 0), "fallback" in notes)


def _labels(context: CallContext) -> dict[str, str]:
    labels = {
        "session_id": context.session,
        "request_id": context.request_id,
        "trace_id": trace_id(context.traceparent),
    }
    return {name: value for name, value in labels.items() if value is not None}


class _Instruments:
    """Makes meters when a call is to be metered: with them comes dspy."""

    def instruments(self, *, record: bool, max_lm_calls: int | None, max_tokens: int | None) -> Any:
        from python_bridge.engine.instruments import Instruments

        return Instruments(record=record, max_lm_calls=max_lm_calls, max_tokens=max_tokens)


def read_execution(given: dict[str, Any], method: str) -> ExecutionOptions:
    """Return typed `options.execution`.

    Raises:
        BridgeError: `invalid_request` for unknown, mistyped or senseless ones.
    """
    where = f"options.execution of {method}"
    read = read_params(ExecutionParams, given, where)
    if not 0 <= read.retries <= MAX_RETRIES:
        raise BridgeError(
            "invalid_request", f"retries of {where} must be from 0 to {MAX_RETRIES}, it is {read.retries}"
        )
    if read.timeout_ms is not None and read.timeout_ms < 1:
        raise BridgeError("invalid_request", f"timeout_ms of {where} must be at least 1, it is {read.timeout_ms}")
    return ExecutionOptions(
        cache=read.cache,
        retries=read.retries,
        timeout=None if read.timeout_ms is None else read.timeout_ms / 1000,
        fallback=_fallbacks(read.fallback or [], where),
        limits=_limits(read.limits or {}, where),
        debug=read.debug,
        track=read.track,
    )


def _fallbacks(given: list[Any], where: str) -> tuple[Any, ...]:
    if len(given) > MAX_FALLBACKS:
        raise BridgeError(
            "invalid_request", f"fallback of {where} has {len(given)} items; {MAX_FALLBACKS} are the most"
        )
    return tuple(_fallback(item, where) for item in given)


def _fallback(item: Any, where: str) -> Any:
    if item in (STALE, PARTIAL):
        return item
    if isinstance(item, str) and item.startswith("lm:") and len(item) > len("lm:"):
        return FallbackLM(item.removeprefix("lm:"))
    if isinstance(item, str) and _HANDLE.fullmatch(item):
        return item
    text = f'fallback of {where} takes "lm:NAME", "stale", "partial" or the hash of a program, not {item!r:.80}'
    raise BridgeError("invalid_request", text)


def _limits(given: dict[str, Any], where: str) -> ExecutionLimits:
    read = read_params(LimitsParams, given, f"limits of {where}")
    for name in given:
        value = getattr(read, name)
        if value is not None and value < 0:
            raise BridgeError("invalid_request", f"{name} in limits of {where} must not be negative, it is {value}")
    cpu = None if read.max_cpu_ms is None else read.max_cpu_ms / 1000
    return ExecutionLimits(read.max_lm_calls, read.max_tokens, read.max_memory_bytes, cpu)


__all__ = ["MAX_FALLBACKS", "MAX_RETRIES", "CallExecutor", "ExecutionOptions", "read_execution"]
