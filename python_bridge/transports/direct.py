"""A conversation without bytes: requests and answers as values, for transports whose messages are not frames."""

from collections.abc import Callable
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol.connection import Cancelled, CreditGranted, InFlight, State
from python_bridge.protocol.messages import Meta, Request
from python_bridge.protocol.server import ServerConnection
from python_bridge.services.dispatch import Dispatcher
from python_bridge.transports.exchange import Exchange
from python_bridge.wire.codec import Encoding


class DirectConnection(ServerConnection):
    """Keeps the ids and the credit of a connection; its requests come as records and its answers leave as values.

    Args:
        told: called with whether work is taken, when that changes.
    """

    def __init__(self, dispatcher: Dispatcher, told: Callable[[bool], object]) -> None:
        super().__init__(dispatcher.limits, dispatcher.settings.max_frame_bytes)
        self.state = State.INITIALIZED
        self.exchanges: dict[int, Exchange] = {}
        self._told = told

    def take(self, request: Request, exchange: Exchange) -> None:
        """Note a request before it is handled."""
        self.exchanges[request.id] = exchange
        meta = request.meta
        self.in_flight[request.id] = InFlight(request.method, request.encoding, meta.stream, meta.credit)

    def respond(self, request_id: int, result: Any) -> None:
        self._finish(request_id, result, None)

    def fail(self, request_id: int | None, error: BridgeError) -> None:
        if request_id is not None:
            self._finish(request_id, None, error)

    def _finish(self, request_id: int, result: Any, error: BridgeError | None) -> None:
        self.in_flight.pop(request_id, None)
        if (exchange := self.exchanges.pop(request_id, None)) is not None:
            exchange.finish(result, error)

    def emit(self, request_id: int, event: dict[str, Any]) -> bool:
        entry, exchange = self.in_flight.get(request_id), self.exchanges.get(request_id)
        if entry is None or exchange is None or not entry.stream or entry.credit < 1:
            return False
        exchange.events.put_nowait((entry.seq, event))
        entry.credit -= 1
        entry.seq += 1
        return True

    # Notifications have no way to go: what matters of them is whether work is taken.

    def ready(self, params: dict[str, Any]) -> None:
        self.state = State.READY
        self._told(True)

    def failed(self, error: BridgeError) -> None:
        self._told(False)

    def draining(self, params: dict[str, Any]) -> None:
        self._told(False)

    def drain(self) -> None:
        super().drain()
        self._told(False)


class Direct:
    """One conversation for all requests of a transport.

    Args:
        told: called with whether work is taken, when that changes.
    """

    def __init__(self, dispatcher: Dispatcher, told: Callable[[bool], object]) -> None:
        self._dispatcher = dispatcher
        self._connection = DirectConnection(dispatcher, told)
        self._conversation = dispatcher.open(self, self._connection)
        self._next_id = 0

    def ask(self, method: str, params: dict[str, Any], meta: Meta, encoding: Encoding = "json") -> Exchange:
        """Hand a request to the dispatcher."""
        self._next_id += 1
        request = Request(self._next_id, method, params, meta, encoding)
        exchange = Exchange(self._dispatcher.loop, request.id)
        self._connection.take(request, exchange)
        if method == "initialize":
            error = BridgeError("invalid_request", "initialize belongs to connections; this request needs none")
            self._connection.fail(request.id, error)
        else:
            self._dispatcher.handle(self._conversation, request)
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Stop the work on a request; nothing happens when it has its answer."""
        if exchange.id in self._connection.in_flight:
            self._conversation.handle(Cancelled(exchange.id))

    def grant(self, exchange: Exchange) -> None:
        """Let one more event come."""
        if (entry := self._connection.in_flight.get(exchange.id)) is not None:
            entry.credit += 1
            self._conversation.handle(CreditGranted(exchange.id))

    # -- Outlet -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Nothing waits here."""

    def is_writable(self) -> bool:
        """Credit alone holds a stream back."""
        return True

    async def writable(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Stop the work on all requests."""
        self._conversation.close()


__all__ = ["Direct", "DirectConnection", "Exchange"]
