"""The one dispatcher of a process: ids, deadlines, admission, and the life of the worker as its clients see it."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import Request
from python_bridge.protocol.operations import InitializeParams, Nothing, ShutdownParams
from python_bridge.protocol.params import read_params
from python_bridge.protocol.server import ServerConnection
from python_bridge.services.admission import Admission
from python_bridge.services.call import Call
from python_bridge.services.conversation import Conversation, Outlet
from python_bridge.services.faults import to_bridge_error
from python_bridge.services.identity import Identity
from python_bridge.services.lifecycle import EXIT_OK, Lifecycle, Phase
from python_bridge.services.observability.observer import Observer
from python_bridge.settings import Settings
from python_bridge.wire.values import Limits


class Way(Enum):
    """How an operation is worked on."""

    CONTROL = "at once, in every state"
    INLINE = "at once when the engine is ready: it neither waits nor streams"
    WORK = "in a task of its own"


# Members are looked up by name each time; the way of every request is too short for that.
_CONTROL, _INLINE = Way.CONTROL, Way.INLINE


@dataclass(frozen=True, slots=True)
class Operation:
    """One method.

    Attributes:
        params: dataclass of its parameters.
        handler: ``handler(call, params)``; for `Way.WORK` a coroutine function with a `Call`, else a function that gets
            the `Conversation`.
    """

    params: type[Any]
    handler: Callable[[Any, Any], Any]
    way: Way = Way.WORK


class Dispatcher:
    """Serves any number of connections of any transports with one table of operations.

    Args:
        operations: methods beside those that every server has (`initialize`, `ping`, `shutdown`).
        settings: limits, token, debug mode.

    Attributes:
        limits: of values, in both directions.
        declared: features that the settings tell of, beside those of the engine.
        observer: what wants to know of calls; ``None`` when nothing does, which costs a call nothing.
    """

    def __init__(
        self, operations: Mapping[str, Operation], settings: Settings, identity: Identity | None = None
    ) -> None:
        self.settings = settings
        self.limits = Limits(
            settings.max_depth, settings.max_items, settings.attachment_bytes, settings.max_table_bytes
        )
        self.identity = identity or Identity.of(settings)
        self.loop = asyncio.get_running_loop()
        self.admission = Admission(settings.max_in_flight, settings.max_queue)
        self.conversations: set[Conversation] = set()
        self.declared: list[str] = []
        self.features: list[str] = ["stream", "tools"]
        self.ready: asyncio.Future[None] = self.loop.create_future()
        self.greeted: asyncio.Future[None] = self.loop.create_future()
        self.ended: asyncio.Future[int] = self.loop.create_future()
        self.life = Lifecycle()
        self.observer: Observer | None = None
        self.calls = 0
        self.pending: set[Call] = set()
        self.abandoned: dict[Call, float] = {}
        self._ready_params: dict[str, Any] = {}
        self._failure: BridgeError | None = None
        self._draining_task: asyncio.Task[None] | None = None
        self._exit_status = EXIT_OK
        self._operations: dict[str, Operation] = {
            "ping": Operation(Nothing, _ping, Way.CONTROL),
            "shutdown": Operation(ShutdownParams, self._shutdown, Way.CONTROL),
            **operations,
        }

    @property
    def draining(self) -> bool:
        """Whether new work is refused."""
        return self.life.ending

    def declare(self, features: list[str]) -> None:
        """Tell clients of features that the engine does not know of."""
        self.declared = features
        self.features = [*self.features, *features]

    def open(self, outlet: Outlet, connection: ServerConnection | None = None) -> Conversation:
        """Begin to serve a new connection; a transport without frames brings its own."""
        if connection is None:
            connection = ServerConnection(self.limits, self.settings.max_frame_bytes)
        conversation = Conversation(self, connection, outlet)
        self.conversations.add(conversation)
        return conversation

    def forget(self, conversation: Conversation) -> None:
        """A connection has ended."""
        if self.observer is not None:
            self.observer.forget(conversation)
            self.observer = self.observer if self.observer.listening else None
        self.conversations.discard(conversation)

    def next_serial(self) -> int:
        """Return a number for a call that no other call of this process has."""
        self.calls += 1
        return self.calls

    # -- requests ---------------------------------------------------------------------------------------------

    def handle(self, conversation: Conversation, request: Request) -> None:
        """Answer a request, or start the work on it."""
        try:
            operation = self._operations.get(request.method)
            if operation is not None:
                self._handle(conversation, request, operation)
            elif request.method == "initialize":
                self._initialize(conversation, request)
            else:
                known = ", ".join(self.methods())
                raise BridgeError("not_found", f"no method {request.method[:80]!r}; known are {known}")
        except Exception as exception:
            error = to_bridge_error(exception, request.method, debug=self.settings.debug)
            conversation.connection.fail(request.id, error)

    def _handle(self, conversation: Conversation, request: Request, operation: Operation) -> None:
        params = read_params(operation.params, request.params, request.method)
        if request.meta.deadline_ms == 0:
            raise BridgeError("timeout", f"{request.method} came with a deadline of 0 ms; no work was started")
        if operation.way is _CONTROL:
            conversation.connection.respond(request.id, operation.handler(conversation, params))
            return
        if self._failure is not None or self.life.ending:
            self._refuse(request.method)
        if operation.way is _INLINE and self.ready.done():
            conversation.connection.respond(request.id, operation.handler(conversation, params))
        else:
            self._start(conversation, request, operation, params)

    def methods(self) -> list[str]:
        """Return the names of all methods."""
        return sorted(["initialize", *self._operations])

    def _refuse(self, method: str) -> NoReturn:
        if self._failure is not None:
            raise self._failure
        raise BridgeError("overloaded", f"{method} came while the worker drains; send it to another worker")

    def _start(self, conversation: Conversation, request: Request, operation: Operation, params: Any) -> None:
        self.admission.check(len(self.pending))
        handler: Any = operation.handler if operation.way is Way.WORK else _in_task(operation.handler)
        call = Call(conversation, request, handler, params)
        self.pending.add(call)
        conversation.start(call)

    def answered(self, call: Call) -> None:
        """A call has given its answer; until its task has ended too it counts as abandoned."""
        self.pending.discard(call)
        if call.task.done() or call.task is asyncio.current_task(self.loop):
            return
        self.abandoned[call] = self.loop.time()
        call.task.add_done_callback(lambda task: self.abandoned.pop(call, None))

    # -- handshake --------------------------------------------------------------------------------------------

    def _initialize(self, conversation: Conversation, request: Request) -> None:
        connection = conversation.connection
        try:
            params = read_params(InitializeParams, request.params, request.method)
            self._check_token(params.token)
            version = connection.accept(request, params)
        except BridgeError as error:
            if error.kind == "invalid_request":
                connection.retry(request.id, error)
            else:
                conversation.handle(connection.refuse(request.id, error))
            return
        connection.respond(request.id, self.identity.hello(version, self.settings, self.methods(), self.features))
        self._welcome(connection)
        if not self.greeted.done():
            self.greeted.set_result(None)

    def _welcome(self, connection: ServerConnection) -> None:
        """Tell a new client what the others were told before."""
        if self._failure is not None:
            connection.failed(self._failure)
        elif self.ready.done():
            connection.ready(self._ready_params)
        if self.draining:
            connection.drain()

    def _check_token(self, token: str | None) -> None:
        wanted = self.settings.token
        if wanted is not None and not hmac.compare_digest(wanted.encode(), (token or "").encode()):
            raise BridgeError("unauthorized", "the token of initialize is missing or wrong")

    # -- life of the worker -----------------------------------------------------------------------------------

    def engine_ready(self, dspy_version: str, features: list[str], boot_ms: float) -> None:
        """Work may begin: waiting requests run, clients get `ready`."""
        self.features = features = [*features, *self.declared]
        self.life.advance(Phase.READY)
        self.identity.dspy_version = dspy_version
        self._ready_params = {"dspy": {"version": dspy_version}, "features": features, "boot_ms": boot_ms}
        self.ready.set_result(None)
        for conversation in self.conversations:
            conversation.connection.ready(self._ready_params)
            conversation.outlet.flush()

    def engine_failed(self, error: BridgeError) -> None:
        """There will be no engine: clients get `worker/failed`, waiting requests the same error."""
        self._failure = error
        for conversation in list(self.conversations):
            conversation.connection.failed(error)
            conversation.outlet.flush()
        for call in list(self.pending):
            call.stop(error)

    def _shutdown(self, conversation: Conversation, params: ShutdownParams) -> dict[str, Any]:
        if params.grace_ms is not None and params.grace_ms < 0:
            raise BridgeError("invalid_request", "grace_ms of shutdown must be 0 or more")
        self.drain(self.settings.drain_ms if params.grace_ms is None else params.grace_ms, asker=conversation)
        return {}

    def drain(
        self, grace_ms: int, reason: str = "shutdown", status: int = EXIT_OK, asker: Conversation | None = None
    ) -> None:
        """Refuse new work, wait for what is in flight, then end with `status`; a second call only shortens.

        Args:
            reason: for people and pools; clients that did not ask for it get `worker/draining`.
            asker: the one that did ask.
        """
        first = self.life.advance(Phase.DRAINING, reason)
        if first:
            self._exit_status = status
        for conversation in self.conversations:
            if first and conversation is not asker:
                conversation.connection.draining({"reason": reason, "grace_ms": grace_ms})
                conversation.outlet.flush()
            conversation.connection.drain()
        if not first and grace_ms > 0:
            return
        if self._draining_task is not None:
            self._draining_task.cancel()
        self._draining_task = self.loop.create_task(self._drain(grace_ms))

    async def _drain(self, grace_ms: int) -> None:
        tasks = [call.task for call in self.pending]
        if tasks and grace_ms > 0:
            await asyncio.wait(tasks, timeout=grace_ms / 1000)
        self.end(self._exit_status)

    def end(self, status: int) -> None:
        """Cancel what is left, close all connections, and let the process end with `status`."""
        self.life.advance(Phase.STOPPED)
        for call in list(self.pending):
            call.stop(BridgeError("cancelled", f"{call.request.method} was stopped: the worker ends"))
        for conversation in list(self.conversations):
            conversation.outlet.close()
        if not self.ended.done():
            self.ended.set_result(status)


def _ping(conversation: Conversation, params: Nothing) -> dict[str, Any]:
    return {}


def _in_task(handler: Callable[[Any, Any], Any]) -> Callable[[Call, Any], Any]:
    async def run(call: Call, params: Any) -> Any:
        return handler(call.conversation, params)

    return run


__all__ = ["Dispatcher", "Operation", "Way"]
