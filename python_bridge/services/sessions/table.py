"""Sessions in the table of operations, and calls of programs within them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from python_bridge.engine.interface import CallOptions, CallResult, CompiledProgram
from python_bridge.services.call import Call
from python_bridge.services.dispatch import Operation
from python_bridge.services.operations import context_of, prediction, read_call_options
from python_bridge.services.programs import ProgramCache
from python_bridge.services.sessions import params as p
from python_bridge.services.sessions.calls import SessionCalls
from python_bridge.services.sessions.operations import SessionOperations, ref_of
from python_bridge.services.sessions.service import SessionService

if TYPE_CHECKING:
    from python_bridge.services.executor.calls import CallExecutor


class SessionTable:
    """Handlers that open the store when the first of them is called.

    Args:
        programs: gives the worker's programs once there is an engine.
        executor: gives what runs them.
    """

    def __init__(
        self, service: SessionService, programs: Callable[[], ProgramCache], executor: Callable[[], "CallExecutor"]
    ) -> None:
        self._service = service
        self._programs = programs
        self._executor = executor
        self._opened: tuple[SessionOperations, SessionCalls] | None = None

    def table(self) -> dict[str, Operation]:
        """Return the operations by method."""
        takes: dict[str, tuple[type, Callable[[SessionOperations], Callable[[Any, Any], Any]]]] = {
            "session.open": (p.OpenParams, lambda operations: operations.open),
            "session.attach": (p.SessionParams, lambda operations: operations.attach),
            "session.describe": (p.SessionParams, lambda operations: operations.describe),
            "session.close": (p.SessionParams, lambda operations: operations.close),
            "session.list": (p.ListParams, lambda operations: operations.page),
            "session.get": (p.GetParams, lambda operations: operations.get),
            "session.put": (p.PutParams, lambda operations: operations.put),
            "session.history": (p.HistoryParams, lambda operations: operations.history),
            "session.append": (p.AppendParams, lambda operations: operations.append),
            "session.trim": (p.TrimParams, lambda operations: operations.trim),
            "session.export": (p.SessionParams, lambda operations: operations.export),
            "session.import": (p.ImportParams, lambda operations: operations.import_),
            "session.touch": (p.SessionParams, lambda operations: operations.touch),
        }
        return {method: Operation(kind, self._handler(choose)) for method, (kind, choose) in takes.items()}

    async def call(
        self, call: Call, module: str, inputs: dict[str, Any], options: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Run a program within the session of the call's `_meta`, and return its prediction."""
        ref = ref_of(call.request, p.check_name(call.request.meta.session, "_meta.session"))
        chosen, wanted = read_call_options(options, call.request.method)
        _, calls = await self._open()
        context = context_of(call, call.spending)
        if context.call_tool is not None:
            context = replace(context, call_tool=calls.in_tool(ref, context.call_tool))

        async def run(
            program: CompiledProgram, values: dict[str, Any], with_defaults: CallOptions
        ) -> tuple[CallResult, dict[str, Any]]:
            result = await self._executor().run(program, values, with_defaults, context, wanted)
            return result, prediction(call, result)

        return await calls.call(ref, module, inputs, chosen, run)

    async def once(self, call: Call, work: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Run a call outside of sessions once for its idempotency key."""
        ref = ref_of(call.request, "")
        answers = await self._service.answers()
        return await answers.once(ref, work)

    def _handler(self, choose: Callable[[SessionOperations], Callable[[Any, Any], Any]]) -> Callable[[Any, Any], Any]:
        async def handle(call: Call, params: Any) -> Any:
            operations, _ = self._opened or await self._open()
            return await choose(operations)(call, params)

        return handle

    async def _open(self) -> tuple[SessionOperations, SessionCalls]:
        if self._opened is None:
            manager, programs = await self._service.manager(), self._programs()
            self._opened = SessionOperations(manager, programs), SessionCalls(manager, programs)
        return self._opened


__all__ = ["SessionTable"]
