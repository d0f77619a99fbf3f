"""One request under way: its task, deadline, stream and tool calls. It gives exactly one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from python_bridge.engine.interface import Spending
from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import Request
from python_bridge.services.faults import to_bridge_error
from python_bridge.services.observability.current import current_request
from python_bridge.services.observability.observer import Observation, timed
from python_bridge.services.observability.traces import trace_id

if TYPE_CHECKING:
    from python_bridge.services.conversation import Conversation

Handler = Callable[["Call", Any], Awaitable[Any]]


@dataclass(slots=True)
class Timing:
    """Loop times in seconds: when the frame was read, and when the work began."""

    received: float
    started: float | None = None


class Call:
    """A request that a task works on.

    The answer goes out at once when the deadline passes or the client cancels; the task is cancelled then, and
    counts as abandoned until it has really ended.
    """

    __slots__ = (
        "_credit",
        "_handler",
        "_params",
        "_settling",
        "_stopped",
        "_timer",
        "answered",
        "conversation",
        "deadline",
        "observation",
        "request",
        "serial",
        "spending",
        "task",
        "timing",
    )

    def __init__(self, conversation: "Conversation", request: Request, handler: Handler, params: Any) -> None:
        loop = conversation.dispatcher.loop
        self.conversation = conversation
        self.request = request
        self.serial = conversation.dispatcher.next_serial()
        self.answered = False
        self.timing = Timing(loop.time())
        self._handler = handler
        self._params = params
        self._credit: asyncio.Event | None = None
        self._settling = False
        self._stopped: BridgeError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.deadline: float | None = None
        self.observation: Observation | None = None
        self.spending = Spending()
        if request.meta.deadline_ms is not None:
            self.deadline = self.timing.received + request.meta.deadline_ms / 1000
            self._timer = loop.call_at(self.deadline, self._time_out)
        self.task = loop.create_task(self._run())

    # -- life -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        dispatcher = self.conversation.dispatcher
        current_request.set(self)
        if dispatcher.observer is not None:
            self.observation = dispatcher.observer.observe(self)
        try:
            if not dispatcher.ready.done():
                await asyncio.shield(dispatcher.ready)
            await dispatcher.admission.enter()
            self.timing.started = dispatcher.loop.time()
            if self.observation is not None:
                self.observation.started(self.timing.started)
            try:
                result = await self._handler(self, self._params)
            finally:
                dispatcher.admission.leave(dispatcher.loop.time() - self.timing.started)
        except BaseException as exception:
            stopped = self._stopped if isinstance(exception, asyncio.CancelledError) else None
            self.fail(stopped or to_bridge_error(exception, self.request.method, debug=dispatcher.settings.debug))
            if not isinstance(exception, Exception | asyncio.CancelledError):
                raise
        else:
            self.respond(result)

    def respond(self, result: Any) -> None:
        """Answer with a result, unless the answer was given already."""
        if self._close():
            if self.observation is not None:
                self.observation.stopped(self.conversation.dispatcher.loop.time(), result)
            self.conversation.respond(self.request.id, result)

    def fail(self, error: BridgeError) -> None:
        """Answer with an error, unless the answer was given already; it tells what the work had spent by then."""
        if self._close():
            if "usage" not in error.details and (spent := self.spending.told()):
                error.details = {**error.details, **spent}
            if self.observation is not None:
                self.observation.failed(self.conversation.dispatcher.loop.time(), error)
            self.conversation.fail(self.request.id, error)

    def stop(self, error: BridgeError) -> None:
        """Answer with `error` now and stop the work; while a change is committed, the commit decides the answer."""
        if self._settling:
            self._stopped = self._stopped or error
        else:
            self.fail(error)
        self.task.cancel()
        self.grant()

    @contextmanager
    def settling(self) -> Generator[None, None, None]:
        """Within the block a change is committed: a stop is answered only when it is known that nothing was changed.

        Raises:
            asyncio.CancelledError: the request was stopped before, and what it works with paid no heed to that.
        """
        if self.answered:
            raise asyncio.CancelledError
        self._settling = True
        try:
            yield
        except BridgeError:
            if self._stopped is not None:
                raise asyncio.CancelledError from None  # else whoever repeats after an error would do so
            raise
        finally:
            self._settling = False

    def _time_out(self) -> None:
        text = (
            f"the deadline of {self.request.meta.deadline_ms} ms for {self.request.method} passed; the work was stopped"
        )
        self.stop(BridgeError("timeout", text))

    def _close(self) -> bool:
        if self.answered:
            return False
        self.answered = True
        if self._timer is not None:
            self._timer.cancel()
        return True

    # -- what handlers use ------------------------------------------------------------------------------------

    @property
    def request_id(self) -> str:
        """A text that is unique within the worker."""
        return f"{self.conversation.dispatcher.identity.worker_id}-{self.serial}"

    def log_fields(self) -> dict[str, Any]:
        """Return what logs and telemetry tell of this request."""
        meta = self.request.meta
        fields = {"request_id": self.request_id, "method": self.request.method}
        if meta.session is not None:
            fields["session"] = meta.session
        if (trace := trace_id(meta.traceparent)) is not None:
            fields["trace_id"] = trace
        return fields

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, ``None`` without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.conversation.dispatcher.loop.time())

    async def emit(self, event: dict[str, Any]) -> None:
        """Send a stream event; wait for credit, and for the client to read.

        Raises:
            asyncio.CancelledError: the request has been answered: nobody listens any more.
            BridgeError: the event cannot be sent.
        """
        while True:
            if not self.conversation.outlet.is_writable():
                await self.conversation.outlet.writable()
            if self.answered:
                raise asyncio.CancelledError
            if self.conversation.emit(self.request.id, event):
                return
            if self._credit is None:
                self._credit = asyncio.Event()
            await self._credit.wait()

    def grant(self) -> None:
        """Wake the stream: there is credit, or it ends."""
        if self._credit is not None:
            self._credit.set()
            self._credit = None

    async def call_tool(self, tool: str, arguments: dict[str, Any], call_id: str, timeout_s: float | None) -> Any:
        """Let the client run one of its tools and return the value.

        Raises:
            BridgeError: `tool_error`.
        """
        limits = [limit for limit in (timeout_s, self.remaining_s()) if limit is not None]
        params = {"tool": tool, "arguments": arguments, "call_id": call_id, "request_id": self.request.id}
        meta: dict[str, Any] = {"deadline_ms": max(1, int(min(limits) * 1000))} if limits else {}
        traceparent = (self.observation and self.observation.traceparent) or self.request.meta.traceparent
        if traceparent is not None:
            meta["traceparent"] = traceparent
        if self.request.meta.session is not None:
            meta["within"] = [*(self.request.meta.within or ()), self.request.meta.session]
        asking = self.conversation.call_tool(params, meta, min(limits, default=None))
        return await timed(self.observation, "tool", {"tool": tool, "call_id": call_id}, asking)


def settling() -> AbstractContextManager[None]:
    """Return `Call.settling` of the request that this task works on; outside of requests a block without effect."""
    call = current_request.get()
    return call.settling() if isinstance(call, Call) else nullcontext()


__all__ = ["Call", "Handler", "Timing", "settling"]
