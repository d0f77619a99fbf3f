"""One end of a connection, without I/O: bytes in, events out, and bytes to send.

`ServerConnection` and `ClientConnection` (in `server` and `client`) add what differs between the two ends.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import (
    MAX_CREDIT,
    MalformedMessage,
    Notification,
    Request,
    Response,
    error_map,
    notification_map,
    parse_message,
    request_map,
    result_map,
)
from python_bridge.protocol.salvage import lost_result, salvage_id
from python_bridge.wire.codec import Encoding, decode_body, encode_body
from python_bridge.wire.frames import DEFAULT_MAX_FRAME_BYTES, HEADER, FrameDecoder, FrameFault
from python_bridge.wire.values import DEFAULT_LIMITS, Limits

CANCEL = "$/cancelRequest"
CREDIT = "stream/credit"
EVENT = "stream/event"


class State(Enum):
    """Where a connection stands (`proto/PROTOCOL.md`, section 5)."""

    OPENED = "opened"
    INITIALIZED = "initialized"
    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


_CLOSED = State.CLOSED  # members are looked up by name, which every message would pay for


@dataclass(slots=True)
class Cancelled:
    """The other side asks for the end of its request `id`, which is in flight."""

    id: int


@dataclass(slots=True)
class CreditGranted:
    """The stream of request `id` may go on."""

    id: int


@dataclass(slots=True)
class Closed:
    """The connection can't go on: send what is left and close it. `error` is ``None`` when all went well."""

    error: BridgeError | None = None


Event = Request | Notification | Response | Cancelled | CreditGranted | Closed


@dataclass(slots=True)
class InFlight:
    """A request of the other side that has no answer yet."""

    method: str
    encoding: Encoding
    stream: bool
    credit: int
    seq: int = 0


@dataclass(slots=True)
class Counters:
    """What was dropped without an answer."""

    unexpected_responses: int = 0
    malformed_messages: int = 0


class Connection:
    """What both ends share: framing, ids of both directions, credit, and the queue of bytes to send.

    Args:
        limits: of values, in both directions.
        max_frame_bytes: cap of what is read; what is sent is bound by the other side's.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self.state = State.OPENED
        self.limits = limits
        self.max_frame_bytes = max_frame_bytes
        self.peer_max_frame_bytes = DEFAULT_MAX_FRAME_BYTES
        self.encoding: Encoding = "json"
        self.counters = Counters()
        self.in_flight: dict[int, InFlight] = {}
        self.asked: dict[int, str] = {}
        self._decoder = FrameDecoder(max_frame_bytes)
        self._output: list[bytes] = []
        self._next_id = 1

    # -- reading ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take what was read; return what happened. Answers to what cannot be read are queued by themselves."""
        events: list[Event] = []
        for item in self._decoder.feed(data):
            if self.state is _CLOSED:
                break
            if type(item) is bytes:
                self._receive_body(item, events)
            elif isinstance(item, FrameFault):
                self._receive_fault(item, events)
        return events

    def _receive_fault(self, fault: FrameFault, events: list[Event]) -> None:
        error = fault.to_error()
        self.fail(None, error)
        if fault.fatal:
            self.state = State.CLOSED
            events.append(Closed(error))

    def _receive_body(self, body: bytes, events: list[Event]) -> None:
        try:
            value, encoding = decode_body(body, self.limits)
            message = parse_message(value, encoding)
        except MalformedMessage as error:
            self._receive_malformed(error)
            return
        except BridgeError as error:
            self._receive_unreadable(body, error, events)
            return
        kind = type(message)
        if kind is Request:
            event = self._receive_request(message)  # pyright: ignore[reportArgumentType]
        elif kind is Response:
            event = self._receive_response(message)  # pyright: ignore[reportArgumentType]
        else:
            event = self._receive_notification(message)  # pyright: ignore[reportArgumentType]
        if event is not None:
            events.append(event)

    def _receive_malformed(self, error: MalformedMessage) -> None:
        self.counters.malformed_messages += 1
        if error.request_id is None or error.request_id not in self.in_flight:
            self.fail(error.request_id, error)
        else:
            self.fail(None, error)

    def _receive_unreadable(self, body: bytes, error: BridgeError, events: list[Event]) -> None:
        known = salvage_id(body)
        if known is not None and not known[1]:
            if self.asked.pop(known[0], None) is not None:
                events.append(Response(known[0], error=lost_result(error)))
            return
        self._receive_malformed(MalformedMessage(error.message, known and known[0], error.kind))

    def _receive_request(self, request: Request) -> Event | None:
        if request.id in self.in_flight:
            text = f"id {request.id} of {request.method} is in flight already; ids are unique until answered"
            self.fail(None, BridgeError("invalid_request", text, details={"id": request.id}))
            return None
        meta = request.meta
        self.in_flight[request.id] = InFlight(request.method, request.encoding, meta.stream, meta.credit)
        return request

    def _receive_response(self, response: Response) -> Event | None:
        if response.id is None or self.asked.pop(response.id, None) is None:
            self.counters.unexpected_responses += 1
            return None
        return response

    def _receive_notification(self, notification: Notification) -> Event | None:
        if notification.method == CANCEL:
            request_id = notification.params.get("id")
            return Cancelled(request_id) if type(request_id) is int and request_id in self.in_flight else None
        if notification.method == CREDIT:
            return self._receive_credit(notification.params)
        return notification

    def _receive_credit(self, params: dict[str, Any]) -> Event | None:
        request_id, count = params.get("id"), params.get("n")
        if type(request_id) is not int or type(count) is not int or count < 1:
            return None
        entry = self.in_flight.get(request_id)
        if entry is None or not entry.stream:
            return None
        entry.credit = min(entry.credit + count, MAX_CREDIT)
        return CreditGranted(request_id)

    # -- answering --------------------------------------------------------------------------------------------

    def respond(self, request_id: int, result: Any) -> None:
        """Answer a request; a result that cannot be sent becomes an error. Unknown ids are ignored."""
        entry = self.in_flight.pop(request_id, None)
        if entry is None:
            return
        try:
            self._send(result_map(request_id, result), entry.encoding)
        except BridgeError as error:
            kind = "program_error" if error.kind == "invalid_input" else error.kind
            text = f"the result of {entry.method} cannot be sent: {error.message}"
            self._send(error_map(request_id, BridgeError(kind, text, details=error.details)), entry.encoding)

    def fail(self, request_id: int | None, error: BridgeError) -> None:
        """Answer a request with an error; ``None`` when the request cannot be told."""
        entry = self.in_flight.pop(request_id, None) if request_id is not None else None
        self._send(error_map(request_id, error), entry.encoding if entry else self.encoding)

    def emit(self, request_id: int, event: dict[str, Any]) -> bool:
        """Send a stream event if there is credit for it; return whether it was sent.

        Raises:
            BridgeError: the event cannot be sent (`invalid_input`, `limit_exceeded`).
        """
        entry = self.in_flight.get(request_id)
        if entry is None or not entry.stream or entry.credit < 1:
            return False
        params = {"id": request_id, "seq": entry.seq, "event": event}
        self._send(notification_map(EVENT, params), entry.encoding)
        entry.credit -= 1
        entry.seq += 1
        return True

    # -- asking -----------------------------------------------------------------------------------------------

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        self._send(notification_map(method, params), self.encoding)

    def request(self, method: str, params: dict[str, Any] | None = None, meta: dict[str, Any] | None = None) -> int:
        """Send a request and return its id.

        Raises:
            BridgeError: the parameters cannot be sent (`invalid_input`, `limit_exceeded`).
        """
        request_id = self._next_id
        self._send(request_map(request_id, method, params, meta), self.encoding)
        self._next_id += 1
        self.asked[request_id] = method
        return request_id

    def cancel(self, request_id: int) -> None:
        """Ask the other side to end a request of ours; its answer still comes. Unknown ids are ignored."""
        if request_id in self.asked:
            self.notify(CANCEL, {"id": request_id})

    # -- sending ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Read nothing more; what is queued may still be sent."""
        self.state = State.CLOSED

    def has_output(self) -> bool:
        """Whether there are bytes to send."""
        return bool(self._output)

    def take_output(self) -> bytes:
        """Return all bytes to send; they count as sent from now on."""
        output, self._output = self._output, []
        return b"".join(output)

    def _send(self, message: dict[str, Any], encoding: Encoding) -> None:
        body = encode_body(message, encoding, self.limits)
        if len(body) > self.peer_max_frame_bytes:
            text = (
                f"a message of {len(body)} bytes is above the other side's limit of {self.peer_max_frame_bytes} bytes"
            )
            raise BridgeError("limit_exceeded", text, details={"limit": "max_frame_bytes"})
        self._output.append(HEADER.pack(len(body)))
        self._output.append(body)


__all__ = ["Cancelled", "Closed", "Connection", "Counters", "CreditGranted", "Event", "InFlight", "State"]
