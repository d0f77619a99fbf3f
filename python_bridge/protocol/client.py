"""The end of a connection that asks: used by the test client and by everything in Python that talks to a worker."""

from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol import PROTOCOL_VERSIONS
from python_bridge.protocol.connection import CREDIT, Connection, Event, State
from python_bridge.protocol.messages import Notification, Request, Response
from python_bridge.wire.codec import ENCODINGS


class ClientConnection(Connection):
    """Adds the client's part of the handshake, and grants of credit."""

    initialize_id: int | None = None
    hello: dict[str, Any] | None = None
    tools = False

    def initialize(self, name: str, version: str, *, tools: bool = False, token: str | None = None) -> int:
        """Send the first request and return its id; its response sets `hello`."""
        params: dict[str, Any] = {
            "protocol_versions": list(PROTOCOL_VERSIONS),
            "client": {"name": name, "version": version},
            "encodings": list(ENCODINGS),
            "limits": self._own_limits(),
            "capabilities": {"tools": tools},
        }
        self.tools = tools
        self.initialize_id = self.request("initialize", params if token is None else {**params, "token": token})
        return self.initialize_id

    def _own_limits(self) -> dict[str, int]:
        attachment_bytes = self.limits.attachment_bytes
        return {
            "max_frame_bytes": self.max_frame_bytes,
            **({} if attachment_bytes is None else {"attachment_bytes": attachment_bytes}),
        }

    def grant(self, request_id: int, count: int) -> None:
        """Let `count` more events of a stream come."""
        if request_id in self.asked:
            self.notify(CREDIT, {"id": request_id, "n": count})

    def _receive_request(self, request: Request) -> Event | None:
        event = super()._receive_request(request)
        if event is not None and (request.method != "tool/call" or not self.tools):
            self.fail(request.id, BridgeError("not_found", f"the client has no method {request.method!r}"))
            return None
        return event

    def _receive_response(self, response: Response) -> Event | None:
        event = super()._receive_response(response)
        if response.id is None:  # an error about something that the other side could not read
            return response
        if event is not None and response.id == self.initialize_id and response.error is None:
            self._read_hello(response.result)
        return event

    def _read_hello(self, result: Any) -> None:
        self.hello = hello = _map(result)
        limit = _map(hello.get("limits")).get("max_frame_bytes")
        if type(limit) is int:
            self.peer_max_frame_bytes = limit
        self.state = State.INITIALIZED

    def _receive_notification(self, notification: Notification) -> Event | None:
        if notification.method == "ready" and self.state is State.INITIALIZED:
            self.state = State.READY
        return super()._receive_notification(notification)


def _map(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if type(value) is dict else {}


__all__ = ["ClientConnection"]
