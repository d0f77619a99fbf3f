"""The client's end of a connection to a worker, for processes that stand before one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol.client import ClientConnection
from python_bridge.protocol.connection import Cancelled, Event
from python_bridge.protocol.messages import Notification, Request, Response
from python_bridge.services.faults import to_bridge_error
from python_bridge.transports.exchange import Exchange

RunTool = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Runs a tool of the client's: name and arguments to its value."""


class WorkerLink(asyncio.Protocol):
    """Asks a worker, any number of requests at a time, and runs the tools that it asks for.

    Attributes:
        ready: done when the worker takes calls; fails when there will be no engine.
        greeted: what the worker tells of itself; dspy is not imported yet then.
        closed: done when the connection has ended.
    """

    def __init__(self, run_tool: RunTool, token: str) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.greeted: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._run_tool = run_tool
        self._token = token
        self._connection = ClientConnection()
        self._exchanges: dict[int, Exchange] = {}
        self._tools: dict[int, asyncio.Task[None]] = {}
        self._transport: asyncio.WriteTransport | None = None

    # -- asking -----------------------------------------------------------------------------------------------

    def ask(self, method: str, params: dict[str, Any], meta: dict[str, Any]) -> Exchange:
        """Send a request.

        Raises:
            BridgeError: the parameters cannot be sent, or the worker is gone.
        """
        if self.closed.done():
            raise BridgeError("worker_lost", f"{method} found no worker: its process has ended")
        exchange = Exchange(self._loop, self._connection.request(method, params, meta))
        self._exchanges[exchange.id] = exchange
        self._flush()
        return exchange

    def grant(self, exchange: Exchange) -> None:
        """Let one more event come."""
        self._connection.grant(exchange.id, 1)
        self._flush()

    def cancel(self, exchange: Exchange) -> None:
        """Ask for the end of a request; nothing happens when it has its answer."""
        self._connection.cancel(exchange.id)
        self._flush()

    def _flush(self) -> None:
        if self._transport is not None and self._connection.has_output():
            self._transport.write(self._connection.take_output())

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        number = self._connection.initialize("python_bridge.snakepit", "1", tools=True, token=self._token)
        self._exchanges[number] = hello = Exchange(self._loop, number)
        hello.answer.add_done_callback(self._greet)
        self._flush()

    def _greet(self, hello: "asyncio.Future[dict[str, Any]]") -> None:
        if hello.exception() is None:
            self.greeted.set_result(hello.result())
        else:
            self.greeted.set_exception(cast("BridgeError", hello.exception()))
            self.greeted.exception()  # nobody has to wait for it

    def data_received(self, data: bytes) -> None:
        for event in self._connection.receive(data):
            self._take(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        lost = BridgeError("worker_lost", "the worker's process ended before it answered")
        for exchange in self._exchanges.values():
            exchange.finish(None, lost)
        self._exchanges.clear()
        for task in self._tools.values():
            task.cancel()
        self._fail_ready(lost)
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail_ready(self, error: BridgeError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # nobody has to wait for it

    def _take(self, event: Event) -> None:
        match event:
            case Response(id=int(number)) if (exchange := self._exchanges.pop(number, None)) is not None:
                exchange.finish(event.result, event.error)
            case Notification(method="stream/event", params=params):
                if (exchange := self._exchanges.get(params.get("id", -1))) is not None:
                    exchange.events.put_nowait((params["seq"], params["event"]))
            case Notification(method="ready") if not self.ready.done():
                self.ready.set_result(None)
            case Notification(method="worker/failed", params=params):
                self._fail_ready(BridgeError.from_object(params["error"]))
            case Request():
                self._tools[event.id] = self._loop.create_task(self._answer(event))
            case Cancelled() if (task := self._tools.get(event.id)) is not None:
                task.cancel()
            case _:
                pass

    async def _answer(self, request: Request) -> None:
        tool = str(request.params.get("tool"))
        try:
            value = await self._run_tool(tool, request.params.get("arguments") or {})
            self._connection.respond(request.id, {"value": value})
        except (Exception, asyncio.CancelledError) as exception:
            self._connection.fail(request.id, to_bridge_error(exception, f"the tool {tool!r}"))
        finally:
            self._tools.pop(request.id, None)
            self._flush()


__all__ = ["RunTool", "WorkerLink"]
