"""An asyncio client of protocol 1 for tests: works on any asyncio transport, in memory too."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol.client import ClientConnection
from python_bridge.protocol.connection import Event
from python_bridge.protocol.messages import Notification, Request, Response
from python_bridge.wire.frames import DEFAULT_MAX_FRAME_BYTES
from python_bridge.wire.values import DEFAULT_LIMITS, Limits

Tool = Callable[[dict[str, Any]], Awaitable[Any]]


class ClientStream:
    """Events of one request, as they come; afterwards `result()` has the response.

    Args:
        grant: credit that is given back for each event taken; 0 gives none.
    """

    def __init__(self, client: "BridgeClient", request_id: int, grant: int) -> None:
        self.id = request_id
        self.sequence: list[int] = []
        self._client = client
        self._grant = grant
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def put(self, params: dict[str, Any] | None) -> None:
        """Take a `stream/event`, or the end."""
        if params is not None:
            self.sequence.append(params["seq"])
        self._events.put_nowait(params and params["event"])

    async def next(self) -> dict[str, Any]:
        """Return the next event.

        Raises:
            StopAsyncIteration: the response has come.
        """
        event = await self._events.get()
        if event is None:
            raise StopAsyncIteration
        if self._grant:
            self._client.grant(self.id, self._grant)
        return event

    def waiting(self) -> int:
        """How many events have come and were not taken."""
        return self._events.qsize()

    async def result(self) -> Any:
        """Return the result of the request."""
        try:
            return await self._client.response(self.id)
        finally:
            self._client.forget(self.id)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            try:
                yield await self.next()
            except StopAsyncIteration:
                return


class BridgeClient(asyncio.Protocol):
    """One connection to a worker.

    Attributes:
        tools: functions that answer `tool/call`, by name.
        notifications: what came beside stream events, in order.
        refusals: errors that came without an id.
        closed: done when the connection has ended.
    """

    def __init__(
        self,
        *,
        tools: dict[str, Tool] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.connection = ClientConnection(limits, max_frame_bytes)
        self.tools = tools
        self.notifications: list[Notification] = []
        self.refusals: asyncio.Queue[BridgeError] = asyncio.Queue()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self._loop = loop
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[int, ClientStream] = {}
        self._arrived = asyncio.Event()
        self._running: dict[int, asyncio.Task[None]] = {}

    # -- asking -----------------------------------------------------------------------------------------------

    async def initialize(self, **options: Any) -> dict[str, Any]:
        """Shake hands; return the hello of the worker."""
        number = self.connection.initialize("python_bridge.testing", "1", tools=self.tools is not None, **options)
        return await self.response(self._sent(number))

    async def ready(self) -> dict[str, Any]:
        """Shake hands, wait until the worker takes calls, and return its hello."""
        hello = await self.initialize()
        await self.notification("ready")
        return hello

    def send(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> int:
        """Send a request and return its id; `response` waits for its answer."""
        return self._sent(self.connection.request(method, params, meta))

    async def request(self, method: str, params: dict[str, Any] | None = None, **meta: Any) -> Any:
        """Send a request and return its result.

        Raises:
            BridgeError: the error that the worker answered, `worker_lost` when the connection ended.
        """
        number = self.send(method, params, **meta)
        try:
            return await self.response(number)
        finally:
            self.forget(number)

    def stream(
        self, method: str, params: dict[str, Any], *, credit: int = 32, grant: int = 1, **meta: Any
    ) -> ClientStream:
        """Send a request that streams."""
        number = self.send(method, params, stream=True, credit=credit, **meta)
        stream = self._streams[number] = ClientStream(self, number, grant)
        return stream

    async def response(self, number: int) -> Any:
        """Return the result of request `number`."""
        return await self._answers[number]

    def forget(self, number: int) -> None:
        """Keep nothing more of a request; an answer that comes after this is dropped."""
        self._answers.pop(number, None)
        self._streams.pop(number, None)

    def cancel(self, number: int) -> None:
        """Ask for the end of a request."""
        self.connection.cancel(number)
        self.flush()

    def grant(self, number: int, count: int) -> None:
        """Let `count` more events come."""
        self.connection.grant(number, count)
        self.flush()

    async def notification(self, method: str) -> dict[str, Any]:
        """Return the parameters of the first notification of this method, waiting for it."""
        while True:
            for notification in self.notifications:
                if notification.method == method:
                    return notification.params
            if self.closed.done():
                raise BridgeError("worker_lost", f"the connection ended before {method} came")
            self._arrived.clear()
            await self._arrived.wait()

    def write(self, data: bytes) -> None:
        """Send raw bytes."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            self.transport.close()

    def _sent(self, number: int) -> int:
        self._answers[number] = self._loop.create_future()
        if self.closed.done():
            self._fail(number, BridgeError("worker_lost", "the connection has ended"))
        self.flush()
        return number

    def flush(self) -> None:
        """Write what is queued."""
        if self.connection.has_output():
            self.write(self.connection.take_output())

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.connection.receive(data):
            self._take(event)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        for number in list(self._answers):
            self._fail(number, BridgeError("worker_lost", "the connection ended before the answer came"))
        for task in self._running.values():
            task.cancel()
        self._arrived.set()

    def _fail(self, number: int, error: BridgeError) -> None:
        answer = self._answers.get(number)
        if answer is not None and not answer.done():
            answer.set_exception(error)
            answer.exception()  # nobody has to wait for it
        if (stream := self._streams.get(number)) is not None:
            stream.put(None)

    def _take(self, event: Event) -> None:
        match event:
            case Response(id=int(number), error=None, result=result):
                if (answer := self._answers.get(number)) is not None and not answer.done():
                    answer.set_result(result)
                if (stream := self._streams.get(number)) is not None:
                    stream.put(None)
            case Response(id=int(number), error=BridgeError() as error):
                self._fail(number, error)
            case Response(error=BridgeError() as error):
                self.refusals.put_nowait(error)
            case Notification(method="stream/event", params=params) if params.get("id") in self._streams:
                self._streams[params["id"]].put(params)
            case Notification():
                self.notifications.append(event)
                self._arrived.set()
            case Request():
                self._running[event.id] = self._loop.create_task(self._run_tool(event))
            case _:
                if (task := self._running.get(getattr(event, "id", -1))) is not None:
                    task.cancel()

    async def _run_tool(self, request: Request) -> None:
        tool = str(request.params.get("tool"))
        try:
            value = await (self.tools or {})[tool](request.params["arguments"])
            self.connection.respond(request.id, {"value": value})
        except asyncio.CancelledError:
            self.connection.fail(request.id, BridgeError("cancelled", f"the tool {tool!r} was cancelled"))
        except Exception as error:  # a tool may raise anything
            failure = BridgeError("tool_error", f"{type(error).__name__}: {error}", details={"tool": tool})
            self.connection.fail(request.id, failure)
        finally:
            self._running.pop(request.id, None)
            self.flush()


__all__ = ["BridgeClient", "ClientStream"]
