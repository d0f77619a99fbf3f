"""`DSPyPipelineExecutor`: programs run with validation, cache, retries, deadlines and tracking."""

import asyncio
import concurrent.futures
import itertools
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from python_bridge.engine.interface import CallOptions, EventSink
from python_bridge.engine.load import check_installed
from python_bridge.engine.targets.interface import Target
from python_bridge.errors import BridgeError
from python_bridge.services.executor.arguments import (
    check_options,
    check_settings,
    read_emit,
    read_fallback,
    read_items,
    read_limits,
    read_seconds,
)
from python_bridge.services.executor.batch import Progress, run_batch
from python_bridge.services.executor.breaker import Breaker, Breakers
from python_bridge.services.executor.deadline import timed_out
from python_bridge.services.executor.execution import Execution, ExecutionLimits
from python_bridge.services.executor.fallback import PARTIAL
from python_bridge.services.executor.inputs import read_inputs
from python_bridge.services.executor.loop import LoopThread
from python_bridge.services.executor.model import ExecutionMode, ExecutionResult
from python_bridge.services.executor.models import Models, Source
from python_bridge.services.executor.options import CacheOptions, log_level_of, max_workers_of
from python_bridge.services.executor.pipeline import Parts, Pipeline
from python_bridge.services.executor.record import Recorder, logger
from python_bridge.services.executor.result_cache import ResultCache
from python_bridge.services.executor.retry import Retry
from python_bridge.services.executor.statistics import Statistics
from python_bridge.services.executor.track import TrackExecutions
from python_bridge.services.faults import to_bridge_error
from python_bridge.settings import Settings
from python_bridge.tracking.interface import Tracker

_GRACE_S = 1.0
_CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class DSPyPipelineExecutor:
    """Runs DSPy programs: instances, program JSON, or model ids.

    Results are plain data; what fails is a result with ``success=False``. It may be used from threads and from event
    loops at once; `execute` has a loop of its own, `aexecute` works on the caller's.

    Args:
        cache_enabled: whether results are kept and given again.
        mlflow_tracking: whether executions go to MLflow (extra ``mlflow``); `tracker` wins over it.
        timeout: seconds for one execution; ``None`` is for ever.
        max_retries: attempts after the first one, for failures that may pass.
        max_workers: items of a batch at work at a time; by default `MAX_WORKERS` of the environment, else 4.
        lms: LMs by name; that called ``default`` serves where `dspy.configure` has set none.
        models: programs by model id: a map, which is asked at every execution, or a function, whose programs are kept
            until `clear_cache`; ``None`` is for unknown ids.
        settings: LMs by name, default adapter, allowed imports.
        cache: bounds of the cache, and its file.
        limits: of each execution, unless it has its own.
        retry: instead of one made of `max_retries`.
        breaker: makes the circuit breaker of an LM.
        tracker: hears of every execution.
    """

    def __init__(
        self,
        cache_enabled: bool = True,
        mlflow_tracking: bool = True,
        timeout: float | None = 300,
        max_retries: int = 1,
        max_workers: int | None = None,
        *,
        lms: Mapping[str, Any] | None = None,
        models: Source | None = None,
        settings: Settings | None = None,
        cache: CacheOptions | None = None,
        limits: ExecutionLimits | None = None,
        retry: Retry | None = None,
        breaker: Callable[[], Breaker] = Breaker,
        tracker: Tracker | None = None,
    ) -> None:
        """
        Raises:
            BridgeError: `unavailable` with the line to run when dspy is missing.
            SettingsError: an argument or an environment variable has a wrong value.
        """
        check_installed()
        cache = cache or CacheOptions()
        check_settings(timeout, max_retries, lms, models, cache)
        self._timeout = timeout
        self._max_workers = max_workers_of(max_workers)
        if (level := log_level_of()) is not None:
            logging.getLogger("python_bridge.executor").setLevel(level)
        self._settings = _without_retries(settings or Settings())
        self._lms = lms
        self._models = Models(models)
        self._limits = read_limits(limits or ExecutionLimits())
        self.statistics = Statistics()
        self._cache = _make_cache(cache) if cache_enabled else None
        self.tracker = tracker if tracker is not None else _make_tracker(mlflow_tracking)
        self._track = TrackExecutions(self.tracker)
        recorder = Recorder(self.statistics, self._track if self.tracker is not None else None)
        self._parts = Parts(retry or Retry(max_retries), Breakers(breaker), self._cache, recorder)
        self._thread = LoopThread("dspex-executor")
        self._lock = threading.Lock()
        self._pipelines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pipeline] = weakref.WeakKeyDictionary()
        self._prefix, self._serial = secrets.token_hex(6), itertools.count(1)
        self._closed = False

    # -- one ----------------------------------------------------------------------------------------------------

    def execute(
        self,
        program: Any = None,
        model_id: str | None = None,
        inputs: Any = None,
        mode: ExecutionMode | str = ExecutionMode.NORMAL,
        **options: Any,
    ) -> ExecutionResult:
        """Run a program once.

        Args:
            program: a `dspy.Module` instance, program JSON (map, text or `Path`).
            model_id: in the place of a program.
            inputs: a map, JSON text, a dataclass or a pydantic model.
            mode: see `ExecutionMode`.
            options: `timeout` (seconds), `lm` (name), `adapter` (name), `config` (LM parameters), `tenant` (its cache
                is its own), `session_id`, `client_request_id`, `use_cache`, `limits`, `emit` (a function,
                asynchronous or plain, that takes stream events on the loop), and `fallback`: one or more of
                ``"lm:NAME"``, another program or model id, ``"stale"``, ``"partial"``.
        """
        try:
            pipeline = self._pipeline(self._thread.loop)
            execution = self._prepare(pipeline, program, model_id, inputs, mode, options)
        except Exception as exception:
            return self._refused(program, model_id, mode, exception)
        if (result := pipeline.at_once(execution)) is not None:
            return result
        return self._wait(pipeline, execution)

    async def aexecute(
        self,
        program: Any = None,
        model_id: str | None = None,
        inputs: Any = None,
        mode: ExecutionMode | str = ExecutionMode.NORMAL,
        **options: Any,
    ) -> ExecutionResult:
        """Run a program once on the caller's loop; see `execute`. Cancelling the task stops the work."""
        try:
            pipeline = self._pipeline(asyncio.get_running_loop())
            execution = self._prepare(pipeline, program, model_id, inputs, mode, options)
        except Exception as exception:
            return self._refused(program, model_id, mode, exception)
        return pipeline.at_once(execution) or await pipeline.run(execution)

    def check(self, program: Any = None, model_id: str | None = None, inputs: Any = None) -> dict[str, Any]:
        """Return the inputs as the program takes them, converted to its types; nothing is run and nothing counted.

        Raises:
            BridgeError: `invalid_input` with every problem in `details.problems`; what is wrong with the program.
        """
        pipeline = self._pipeline(self._thread.loop)
        return self._target(pipeline, program if model_id is None else model_id).check(read_inputs(inputs))

    # -- many ---------------------------------------------------------------------------------------------------

    def execute_batch(
        self,
        program: Any = None,
        model_id: str | None = None,
        inputs_list: Iterable[Any] | None = None,
        **options: Any,
    ) -> list[ExecutionResult]:
        """Run a program once for each of `inputs_list` and return the results in their order.

        Args:
            options: those of `execute`, `mode`, and `max_workers` (items at work at a time),
                `progress` (called with done, total and the latest result), `cancel` (a `threading.Event`).

        Raises:
            BridgeError: `invalid_input` when `inputs_list` is no list, `cancelled` when the executor was shut down
                meanwhile.
            SettingsError: `max_workers` is no whole number from 1.
        """
        items = read_items(inputs_list)
        if self._closed:
            return [self.execute(program, model_id, item) for item in items]
        try:
            return self._thread.run(self.aexecute_batch(program, model_id, items, **options))
        except _CANCELLED:
            raise _shut_down("batch") from None

    async def aexecute_batch(
        self,
        program: Any = None,
        model_id: str | None = None,
        inputs_list: Iterable[Any] | None = None,
        *,
        max_workers: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        **options: Any,
    ) -> list[ExecutionResult]:
        """Run a batch on the caller's loop; see `execute_batch`."""
        mode = options.get("mode", ExecutionMode.NORMAL)

        def run_one(item: Any) -> Awaitable[ExecutionResult]:
            return self.aexecute(program, model_id, item, **options)

        def skipped(_item: Any) -> ExecutionResult:
            return self._refused(program, model_id, mode, BridgeError("cancelled", "the batch was cancelled"))

        parallel = self._max_workers if max_workers is None else max_workers_of(max_workers)
        items = read_items(inputs_list)
        return await run_batch(items, run_one, skipped, parallel=parallel, progress=progress, cancel=cancel)

    # -- the executor itself ------------------------------------------------------------------------------------

    def get_execution_stats(self) -> dict[str, Any]:
        """Return statistics as plain data: counts, times in seconds, cache, tracking, memory, processor."""
        shown = self.statistics.show()
        shown["abandoned"] = sum(pipeline.abandoned for pipeline in list(self._pipelines.values()))
        shown["cache"] = self._cache.stats() if self._cache is not None else None
        shown["tracking"] = self.tracker.stats() if self.tracker is not None else None
        return shown

    def prometheus(self, gauges: Mapping[str, float] | None = None) -> str:
        """Return the statistics in Prometheus' text format."""
        from python_bridge.services.executor.prometheus import to_prometheus

        return to_prometheus(self.get_execution_stats(), gauges)

    def clear_cache(self, program: Any = None, tenant: str | None = None) -> int:
        """Forget results: all, or those of a program (as in `execute`, or a model id), of a tenant, or of both.

        Returns how many there were in memory.

        Raises:
            BridgeError: what is wrong with the program.
        """
        if program is None and tenant is None:
            self._models.forget()
        if self._cache is None:
            return 0
        content = None
        if program is not None:
            pipeline = self._pipeline(self._thread.loop)
            content = self._target(pipeline, program).identity(CallOptions()).program
        return self._cache.clear(content, tenant)

    def shutdown(self) -> None:
        """Stop what runs, hand the tracker what it lacks, and close. Executing afterwards gives `unavailable`."""
        if self._closed:
            return
        self._closed = True
        self._thread.stop()
        if self.tracker is not None:
            self.tracker.close()
        if self._cache is not None:
            self._cache.close()

    async def ashutdown(self) -> None:
        """Close the connections of this loop, and do what `shutdown` does."""
        pipeline = self._pipelines.pop(asyncio.get_running_loop(), None)
        if pipeline is not None:
            await pipeline.targets.close()
        await asyncio.to_thread(self.shutdown)

    def __enter__(self) -> "DSPyPipelineExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    async def __aenter__(self) -> "DSPyPipelineExecutor":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.ashutdown()

    # -- parts --------------------------------------------------------------------------------------------------

    def _pipeline(self, loop: asyncio.AbstractEventLoop) -> Pipeline:
        pipeline = self._pipelines.get(loop)
        if pipeline is not None:
            return pipeline
        from python_bridge.engine.targets.make import Targets  # imports dspy

        with self._lock:
            if (pipeline := self._pipelines.get(loop)) is None:
                targets = Targets(self._settings, self._lms)
                pipeline = Pipeline(self._parts, targets, lambda choice: self._choice(targets, choice))
                self._pipelines[loop] = pipeline
        return pipeline

    def _prepare(
        self,
        pipeline: Pipeline,
        program: Any,
        model_id: str | None,
        inputs: Any,
        mode: ExecutionMode | str,
        options: dict[str, Any],
    ) -> Execution:
        if self._closed:
            raise BridgeError("unavailable", "the executor was shut down; make another one", retryable=False)
        if (program is None) == (model_id is None):
            raise BridgeError("invalid_request", "give either a program or a model_id")
        check_options(options)
        target = self._target(pipeline, program if model_id is None else model_id)
        return self._build(target, read_inputs(inputs), ExecutionMode.read(mode), model_id=model_id, **options)

    def _build(
        self,
        target: Target,
        inputs: Mapping[str, Any],
        mode: ExecutionMode,
        *,
        timeout: float | None = None,
        lm: str | None = None,
        adapter: str | None = None,
        config: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        session_id: str | None = None,
        client_request_id: str | None = None,
        use_cache: bool | None = True,
        limits: ExecutionLimits | Mapping[str, Any] | None = None,
        fallback: Any = (),
        model_id: str | None = None,
        emit: EventSink | None = None,
    ) -> Execution:
        choices = read_fallback(fallback)
        labels = {"session_id": session_id, "client_request_id": client_request_id, "model_id": model_id}
        return Execution(
            id=self._next_id(),
            target=target,
            inputs=inputs,
            options=CallOptions(lm, adapter, config or {}),
            mode=mode,
            timeout=read_seconds(timeout) if timeout is not None else self._timeout,
            tenant=tenant,
            use_cache=use_cache is not False and self._cache is not None,
            limits=self._limits if limits is None else read_limits(limits),
            fallback=choices,
            record_steps=PARTIAL in choices or self._track.wants_steps(),
            labels={name: value for name, value in labels.items() if value is not None},
            emit=read_emit(emit),
            leave_out=self._track.leave_out,
        )

    def _target(self, pipeline: Pipeline, program: Any) -> Target:
        if isinstance(program, str) and not program.lstrip().startswith("{"):
            program = self._models.get(program)
        return pipeline.targets.get(program)

    def _choice(self, targets: Any, choice: Any) -> Target:
        return targets.get(self._models.get(choice) if isinstance(choice, str) else choice)

    def _wait(self, pipeline: Pipeline, execution: Execution) -> ExecutionResult:
        limit = None if execution.timeout is None else execution.timeout + _GRACE_S
        started = time.perf_counter()
        try:
            return self._thread.run(pipeline.run(execution), limit)
        except TimeoutError:  # the program holds the loop, and the loop's own deadline with it
            return self._parts.recorder.fail(execution, timed_out(execution.timeout or 0), started)
        except _CANCELLED:
            return self._parts.recorder.fail(execution, _shut_down("execution"), started)
        except BridgeError as error:
            return self._parts.recorder.fail(execution, error, started)

    def _refused(self, program: Any, model_id: Any, mode: Any, exception: Exception) -> ExecutionResult:
        error = to_bridge_error(exception, "reading the execution")
        name = model_id if isinstance(model_id, str) else "" if program is None else type(program).__name__
        self.statistics.add(name, 0.0, error.kind, 0, False)
        logger.warning("an execution was refused: %s", error.message)
        metadata = {
            "execution_id": self._next_id(),
            "mode": str(mode)[:80],
            "error_kind": error.kind,
            "error_details": error.details,
            "cache": "off",
        }
        return ExecutionResult(False, {}, error.message, 0.0, name, metadata)

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._serial):x}"


def _shut_down(what: str) -> BridgeError:
    return BridgeError("cancelled", f"the {what} was cancelled: the executor was shut down")


def _without_retries(settings: Settings) -> Settings:
    """Only one side retries: the executor, not its LMs."""
    return replace(settings, lms={name: replace(lm, retries=0) for name, lm in settings.lms.items()})


def _make_cache(options: CacheOptions) -> ResultCache:
    tier = None
    if options.path is not None:
        from python_bridge.store.results import ResultFile

        tier = ResultFile(options.path)
    return ResultCache(max_bytes=options.max_bytes, max_entries=options.max_entries, ttl=options.ttl, tier=tier)


def _make_tracker(wanted: bool) -> Tracker | None:
    if not wanted:
        return None
    from python_bridge.tracking.make import tracker_from_environment

    return tracker_from_environment()


__all__ = ["DSPyPipelineExecutor"]
