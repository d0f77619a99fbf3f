"""The operations of a worker (`proto/PROTOCOL.md`, section 8)."""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from python_bridge.engine.interface import CallContext, CallOptions, CallResult, CompiledProgram, Engine, Spending
from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import (
    CallOptionsParams,
    CallParams,
    EchoParams,
    ModuleCallParams,
    ModuleParams,
    Nothing,
    OptionsParams,
    ProgramParams,
)
from python_bridge.protocol.params import read_params
from python_bridge.services.call import Call
from python_bridge.services.conversation import Conversation
from python_bridge.services.dispatch import Operation, Way
from python_bridge.services.health import worker_status
from python_bridge.services.observability.traces import trace_id
from python_bridge.services.programs import ProgramCache
from python_bridge.settings import Settings

if TYPE_CHECKING:
    from python_bridge.services.executor.calls import CallExecutor, ExecutionOptions


class SessionCaller(Protocol):
    """What runs programs within sessions."""

    async def call(
        self, call: Call, module: str, inputs: dict[str, Any], options: dict[str, Any] | None
    ) -> dict[str, Any]: ...

    async def once(self, call: Call, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]: ...


class Watcher(Protocol):
    """What looks at the worker from time to time."""

    def status(self) -> dict[str, Any]: ...

    def stop(self) -> None: ...


class WorkerOperations:
    """Handlers over one engine, which arrives after the first clients do.

    Attributes:
        sessions: takes the calls that name a session, or have an idempotency key.
        monitor: what `worker/status` tells of memory and of the event loop.
    """

    sessions: SessionCaller | None = None
    monitor: Watcher | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._engine: Engine | None = None
        self._programs: ProgramCache | None = None
        self._executor: CallExecutor | None = None

    def set_engine(self, engine: Engine) -> None:
        """Give the handlers their engine; requests wait for it until then.

        Raises:
            BridgeError: the settings ask for what is not installed.
        """
        from python_bridge.services.executor.calls import CallExecutor  # late: a worker answers before it can work

        programs = ProgramCache(engine, self._settings.max_programs)
        self._executor = CallExecutor(self._settings, programs.compiled, _make_tracker(self._settings))
        self._engine, self._programs = engine, programs

    def stop_watching(self) -> None:
        """Look no more at memory and the event loop: the worker ends."""
        if self.monitor is not None:
            self.monitor.stop()

    def abandoned_threads(self) -> int:
        """Return how many threads of cancelled calls still run in the engine."""
        return 0 if self._engine is None else self._engine.abandoned_threads

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            BridgeError: `unavailable` before there is one.
        """
        if self._engine is None:
            raise BridgeError("unavailable", "the worker has no engine yet")
        return self._engine

    @property
    def programs(self) -> ProgramCache:
        """The program cache.

        Raises:
            BridgeError: `unavailable` before there is an engine.
        """
        if self._programs is None:
            raise BridgeError("unavailable", "the worker has no engine yet")
        return self._programs

    @property
    def executor(self) -> "CallExecutor":
        """What runs the programs of calls.

        Raises:
            BridgeError: `unavailable` before there is an engine.
        """
        if self._executor is None:
            raise BridgeError("unavailable", "the worker has no engine yet")
        return self._executor

    def close(self) -> None:
        """Give the tracker what it lacks. May block for a moment."""
        if self._executor is not None:
            self._executor.close()

    def table(self) -> dict[str, Operation]:
        """Return the operations by method."""
        return {
            "echo": Operation(EchoParams, self.echo, Way.INLINE),
            "worker/status": Operation(Nothing, self.status, Way.CONTROL),
            "program.put": Operation(ProgramParams, self.put),
            "module.create": Operation(ProgramParams, self.create),
            "module.describe": Operation(ModuleParams, self.describe),
            "module.drop": Operation(ModuleParams, self.drop),
            "module.call": Operation(ModuleCallParams, self.call_module),
            "call": Operation(CallParams, self.call_once),
        }

    def echo(self, conversation: Conversation, params: EchoParams) -> dict[str, Any]:
        return {"value": params.value}

    def status(self, conversation: Conversation, params: Nothing) -> dict[str, Any]:
        programs = 0 if self._programs is None else len(self._programs)
        watched = {} if self.monitor is None else self.monitor.status()
        status = worker_status(conversation.dispatcher, self._started, programs, self.abandoned_threads())
        executions = None if self._executor is None else self._executor.stats()
        return {**status, **watched, "executions": executions}

    async def put(self, call: Call, params: ProgramParams) -> dict[str, Any]:
        return {"module": self.programs.put(params.program)}

    async def create(self, call: Call, params: ProgramParams) -> dict[str, Any]:
        return {"module": self.programs.create(params.program)}

    async def describe(self, call: Call, params: ModuleParams) -> dict[str, Any]:
        return self.programs.compiled(params.module).describe()

    async def drop(self, call: Call, params: ModuleParams) -> dict[str, Any]:
        return {"dropped": self.programs.drop(params.module)}

    async def call_module(self, call: Call, params: ModuleCallParams) -> dict[str, Any]:
        return await self._run(call, params.module, params.inputs, params.options)

    async def call_once(self, call: Call, params: CallParams) -> dict[str, Any]:
        return await self._run(call, self.programs.create(params.program), params.inputs, params.options)

    async def _run(
        self, call: Call, module: str, inputs: dict[str, Any], options: dict[str, Any] | None
    ) -> dict[str, Any]:
        sessions, meta = self.sessions, call.request.meta
        if sessions is not None and meta.session is not None:
            return await sessions.call(call, module, inputs, options)
        compiled = self.programs.compiled(module)
        if sessions is not None and meta.idempotency_key is not None:
            return await sessions.once(call, lambda: self._execute(call, compiled, inputs, options))
        return await self._execute(call, compiled, inputs, options)

    async def _execute(
        self, call: Call, program: CompiledProgram, inputs: dict[str, Any], options: dict[str, Any] | None
    ) -> dict[str, Any]:
        chosen, wanted = read_call_options(options, call.request.method)
        result = await self.executor.run(program, inputs, chosen, context_of(call, call.spending), wanted)
        return prediction(call, result)


def _make_tracker(settings: Settings) -> Any:
    if not settings.tracking:
        return None
    from python_bridge.tracking.make import bound_requests, tracker_from_environment

    bound_requests()
    return tracker_from_environment()


def read_call_options(options: dict[str, Any] | None, method: str) -> "tuple[CallOptions, ExecutionOptions | None]":
    """Return typed `options` of a call; without `execution` there is nothing beside the engine's own.

    Raises:
        BridgeError: `invalid_request` for unknown or mistyped ones.
    """
    if not options:
        return CallOptions(), None
    read = read_params(CallOptionsParams, options, f"options of {method}")
    chosen = CallOptions(read.lm, read.adapter, read.config or {})
    if read.execution is None:
        return chosen, None
    from python_bridge.services.executor.calls import read_execution

    return chosen, read_execution(read.execution, method)


def read_options(options: dict[str, Any] | None, method: str) -> CallOptions:
    """Return typed `options`.

    Raises:
        BridgeError: `invalid_request` for unknown or mistyped ones.
    """
    read = read_params(OptionsParams, options or {}, f"options of {method}")
    return CallOptions(read.lm, read.adapter, read.config or {})


def context_of(call: Call, spending: Spending | None = None) -> CallContext:
    """Return what the engine may know of the caller, and the ways back; `spending` follows a single run."""
    meta = call.request.meta
    return CallContext(
        request_id=call.request_id,
        emit=call.emit if meta.stream else None,
        call_tool=call.call_tool if call.conversation.connection.client_tools else None,
        tenant=meta.tenant,
        traceparent=meta.traceparent,
        deadline=call.deadline,
        observe=call.observation and call.observation.tell,
        session=meta.session,
        spending=spending,
    )


def prediction(call: Call, result: CallResult) -> dict[str, Any]:
    """Return the map of a prediction."""
    dispatcher, timing = call.conversation.dispatcher, call.timing
    started = timing.started if timing.started is not None else timing.received
    made: dict[str, Any] = {
        "outputs": result.outputs,
        "completions": result.completions,
        "usage": result.usage,
        "cost": result.cost,
        "meta": {
            "worker": dispatcher.identity.worker_id,
            "model": result.model,
            "adapter": result.adapter,
            "request_id": call.request_id,
            "trace_id": trace_id(call.request.meta.traceparent),
            "cache": result.cache,
            "queue_ms": round((started - timing.received) * 1000, 3),
            "run_ms": round((dispatcher.loop.time() - started) * 1000, 3),
        },
    }
    if result.notes is not None:
        made["meta"].update(result.notes)
    return made


__all__ = ["WorkerOperations", "context_of", "prediction", "read_call_options", "read_options"]
