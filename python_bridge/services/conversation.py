"""What happens on one connection: its calls, and the tool calls that go the other way."""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol.connection import Cancelled, Closed, CreditGranted, Event
from python_bridge.protocol.messages import Request, Response
from python_bridge.protocol.server import ServerConnection
from python_bridge.services.call import Call

if TYPE_CHECKING:
    from python_bridge.services.dispatch import Dispatcher


class Outlet(Protocol):
    """The transport's side of a conversation."""

    def flush(self) -> None:
        """Send what the connection has queued, soon, in one write with what else comes until then."""
        ...

    def is_writable(self) -> bool:
        """Whether the other side reads fast enough."""
        ...

    async def writable(self) -> None:
        """Wait until the other side has read enough, or is gone."""
        ...

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        ...


class Conversation:
    """The calls of one connection. `handle` takes the connection's events; nothing here blocks."""

    def __init__(self, dispatcher: "Dispatcher", connection: ServerConnection, outlet: Outlet) -> None:
        self.dispatcher = dispatcher
        self.connection = connection
        self.outlet = outlet
        self.calls: dict[int, Call] = {}
        self._tools: dict[int, asyncio.Future[Any]] = {}

    def handle(self, event: Event) -> None:
        """Act on one event of the connection; the caller flushes afterwards."""
        kind = type(event)
        if kind is Request:
            self.dispatcher.handle(self, cast("Request", event))
        elif kind is CreditGranted:
            self._grant(cast("CreditGranted", event).id)
        elif kind is Cancelled:
            self._cancel(cast("Cancelled", event).id)
        elif kind is Response:
            self._finish_tool(cast("Response", event))
        elif kind is Closed:
            self.outlet.close()

    def _grant(self, request_id: int) -> None:
        if (call := self.calls.get(request_id)) is not None:
            call.grant()

    def _cancel(self, request_id: int) -> None:
        if (call := self.calls.get(request_id)) is not None:
            call.stop(BridgeError("cancelled", f"{call.request.method} was cancelled by the client"))

    # -- answers ----------------------------------------------------------------------------------------------

    def start(self, call: Call) -> None:
        """Take a call on; it leaves with its answer."""
        self.calls[call.request.id] = call

    def respond(self, request_id: int, result: Any) -> None:
        """Answer a request."""
        self._forget(request_id)
        self.connection.respond(request_id, result)
        self.outlet.flush()

    def fail(self, request_id: int, error: BridgeError) -> None:
        """Answer a request with an error."""
        self._forget(request_id)
        self.connection.fail(request_id, error)
        self.outlet.flush()

    def emit(self, request_id: int, event: dict[str, Any]) -> bool:
        """Send a stream event; return whether there was credit."""
        sent = self.connection.emit(request_id, event)
        if sent:
            self.outlet.flush()
        return sent

    def _forget(self, request_id: int) -> None:
        call = self.calls.pop(request_id, None)
        if call is not None:
            self.dispatcher.answered(call)

    # -- tool calls -------------------------------------------------------------------------------------------

    async def call_tool(self, params: dict[str, Any], meta: dict[str, Any], timeout_s: float | None) -> Any:
        """Send `tool/call` and return the client's value.

        Raises:
            BridgeError: `tool_error`: the tool failed, did not answer in time, or cannot be asked.
        """
        tool = str(params["tool"])
        try:
            call_id = self.connection.request("tool/call", params, meta)
        except BridgeError as error:
            raise _tool_error(tool, error) from None
        answer: asyncio.Future[Any] = self.dispatcher.loop.create_future()
        self._tools[call_id] = answer
        self.outlet.flush()
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            self._give_up_tool(call_id)
            text = f"the tool {tool!r} gave no answer within {timeout_s:.3f} s"
            raise BridgeError("tool_error", text, details={"tool": tool, "kind": "timeout"}) from None
        except asyncio.CancelledError:
            self._give_up_tool(call_id)
            raise
        except BridgeError as error:
            raise _tool_error(tool, error) from None
        finally:
            self._tools.pop(call_id, None)

    def _give_up_tool(self, call_id: int) -> None:
        self.connection.cancel(call_id)
        self.outlet.flush()

    def _finish_tool(self, response: Response) -> None:
        answer = self._tools.get(response.id) if response.id is not None else None
        if answer is None or answer.done():
            return
        result = response.result
        if response.error is not None:
            answer.set_exception(response.error)
        elif type(result) is dict and "value" in result:
            answer.set_result(result["value"])
        else:
            answer.set_exception(BridgeError("tool_error", "the answer to tool/call has no value"))

    # -- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The connection is gone: stop all of its work."""
        self.connection.close()
        for call in list(self.calls.values()):
            call.stop(BridgeError("cancelled", "the connection ended"))
        for answer in self._tools.values():
            if not answer.done():
                answer.set_exception(BridgeError("tool_error", "the connection ended"))
        self.dispatcher.forget(self)


def _tool_error(tool: str, error: BridgeError) -> BridgeError:
    if error.kind == "tool_error" and error.details.get("tool") is not None:
        return error
    details = {**error.details, "tool": tool}
    if error.kind != "tool_error":
        details["kind"] = error.kind
    return BridgeError("tool_error", f"the tool {tool!r} failed: {error.message}", details=details)


__all__ = ["Conversation", "Outlet"]
