"""The end of a connection that answers: a worker, or a fork server."""

from dataclasses import replace
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol import PROTOCOL_VERSIONS
from python_bridge.protocol.connection import Closed, Connection, Event, State
from python_bridge.protocol.messages import Notification, Request
from python_bridge.protocol.operations import CONTROL_METHODS, InitializeParams
from python_bridge.wire.codec import ENCODINGS
from python_bridge.wire.frames import GARBAGE_LENGTH
from python_bridge.wire.values import Limits

MIN_PEER_FRAME_BYTES = 4096  # any error must fit
_READY = State.READY


class ServerConnection(Connection):
    """Adds the handshake and the states of `proto/PROTOCOL.md`, section 5.

    `initialize` comes out as a request; its handler calls `accept` or `refuse`.
    """

    client_tools = False
    _greeted = False

    def limit_greeting(self, max_frame_bytes: int) -> None:
        """Take no larger frames until `initialize` is accepted."""
        self._decoder.max_frame_bytes = min(max_frame_bytes, self.max_frame_bytes)

    def _receive_request(self, request: Request) -> Event | None:
        event = Connection._receive_request(self, request)
        if self.state is _READY and request.method != "initialize":  # nearly always, and so without a call
            return event
        if event is None or (refusal := self._refusal(request.method)) is None:
            return event
        self.fail(request.id, refusal)
        return None

    def _refusal(self, method: str) -> BridgeError | None:
        """Return why the state does not allow `method`."""
        if self.state is State.READY:
            return _TWICE if method == "initialize" else None
        if self.state is State.OPENED:
            return self._refusal_when_opened(method)
        if method == "initialize":
            return _TWICE
        if self.state is State.DRAINING and method not in CONTROL_METHODS:
            return BridgeError("overloaded", f"{method} came while the worker drains; send it to another worker")
        return None

    def _refusal_when_opened(self, method: str) -> BridgeError | None:
        # Requests may follow initialize in one read, before its handler had a chance to accept it.
        if method == "initialize":
            first, self._greeted = not self._greeted, True
            return None if first else _TWICE
        return None if self._greeted or method == "ping" else _NOT_YET

    def _receive_notification(self, notification: Notification) -> Event | None:
        # All others are unknown to a worker, and so ignored.
        event = super()._receive_notification(notification)
        return None if isinstance(event, Notification) else event

    def accept(self, request: Request, params: InitializeParams) -> int:
        """Take the client's `initialize` and return the protocol version that both speak.

        Raises:
            BridgeError: `unavailable` without a version in common, `invalid_request` for wrong limits.
        """
        version = negotiate_version(params.protocol_versions)
        limits, capabilities = params.limits or {}, params.capabilities or {}
        self.peer_max_frame_bytes = _read_frame_limit(limits, self.peer_max_frame_bytes)
        self.client_tools = capabilities.get("tools") is True
        self._decoder.max_frame_bytes = self.max_frame_bytes
        self.limits = _read_attachment_limit(limits, self.limits)
        readable = params.encodings or list(ENCODINGS)
        self.encoding = request.encoding if request.encoding in readable else "json"
        self.state = State.INITIALIZED
        return version

    def retry(self, request_id: int, error: BridgeError) -> None:
        """Answer `initialize` with an error that the client can mend by another one."""
        self.fail(request_id, error)
        self._greeted = False

    def refuse(self, request_id: int, error: BridgeError) -> Closed:
        """Answer `initialize` with an error and end the connection."""
        self.fail(request_id, error)
        self.state = State.CLOSED
        return Closed(error)

    def ready(self, params: dict[str, Any]) -> None:
        """Tell the client that calls are worked on; waiting ones may now run."""
        if self.state is State.INITIALIZED:
            self.notify("ready", params)
            self.state = State.READY

    def failed(self, error: BridgeError) -> None:
        """Tell the client that there will be no engine."""
        if self.state is State.INITIALIZED:
            self.notify("worker/failed", {"error": error.to_object()})

    def draining(self, params: dict[str, Any]) -> None:
        """Tell the client that the worker is about to end, though nobody asked it to by this protocol."""
        if self.state in (State.INITIALIZED, State.READY):
            self.notify("worker/draining", params)

    def drain(self) -> None:
        """Refuse new work from now on."""
        if self.state in (State.INITIALIZED, State.READY):
            self.state = State.DRAINING


_TWICE = BridgeError("invalid_request", "initialize came twice; it is the first request of a connection, once")
_NOT_YET = BridgeError("invalid_request", "the first request of a connection must be initialize")


def negotiate_version(offered: list[Any]) -> int:
    """Return the highest version that both sides speak.

    Raises:
        BridgeError: `unavailable` when there is none.
    """
    common = [version for version in PROTOCOL_VERSIONS if any(type(one) is int and one == version for one in offered)]
    if not common:
        text = (
            f"no protocol version in common: the client speaks {offered!r:.200}, the worker {list(PROTOCOL_VERSIONS)}"
        )
        raise BridgeError("unavailable", f"{text}; install versions of both that fit", retryable=False)
    return max(common)


def _read_frame_limit(limits: dict[str, Any], default: int) -> int:
    value = limits.get("max_frame_bytes", default)
    if type(value) is not int or not MIN_PEER_FRAME_BYTES <= value < GARBAGE_LENGTH:
        bounds = f"an integer from {MIN_PEER_FRAME_BYTES} to {GARBAGE_LENGTH - 1}"
        text = f"limits.max_frame_bytes of initialize must be {bounds}, it is {value!r}"
        raise BridgeError("invalid_request", text)
    return value


def _read_attachment_limit(limits: dict[str, Any], default: Limits) -> Limits:
    value = limits.get("attachment_bytes")
    if value is None:
        return default
    if type(value) is not int or value < 0:
        text = f"limits.attachment_bytes of initialize must be an integer of 0 or more, it is {value!r:.200}"
        raise BridgeError("invalid_request", text)
    return replace(default, attachment_bytes=value)


__all__ = ["MIN_PEER_FRAME_BYTES", "ServerConnection", "negotiate_version"]
