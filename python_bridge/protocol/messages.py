"""JSON-RPC 2.0 messages: strict reading into typed records, and the maps to send."""

from dataclasses import dataclass, field
from typing import Any, cast

from python_bridge.errors import BridgeError, ErrorKind
from python_bridge.wire.codec import Encoding

MAX_ID = 2**53 - 1
DEFAULT_CREDIT = 32
MAX_CREDIT = 1_000_000


@dataclass(slots=True)
class Meta:
    """`params._meta` of a request.

    Attributes:
        deadline_ms: time left at sending.
        stream: whether `stream/event` notifications are wanted.
        credit: events that may be sent before `stream/credit`.
        within: sessions whose calls wait for this request.
    """

    deadline_ms: int | None = None
    stream: bool = False
    credit: int = DEFAULT_CREDIT
    session: str | None = None
    tenant: str | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    within: list[Any] | None = None


NO_META = Meta()
"""The meta of requests that carry none; never changed."""


@dataclass(slots=True)
class Request:
    """A request of the other side; `params` is without `_meta`."""

    id: int
    method: str
    params: dict[str, Any]
    meta: Meta = field(default_factory=Meta)
    encoding: Encoding = "json"


@dataclass(slots=True)
class Notification:
    """A notification of the other side."""

    method: str
    params: dict[str, Any]


@dataclass(slots=True)
class Response:
    """An answer of the other side: `error`, or else `result`. The id is null when it could not be told."""

    id: int | None
    result: Any = None
    error: BridgeError | None = None


Message = Request | Notification | Response


class MalformedMessage(BridgeError):
    """A message that cannot be read.

    Attributes:
        request_id: id under which it is answered; ``None`` when that is not known.
    """

    def __init__(self, message: str, request_id: int | None = None, kind: ErrorKind = "invalid_request") -> None:
        super().__init__(kind, message)
        self.request_id = request_id


def parse_message(value: Any, encoding: Encoding = "json") -> Message:
    """Return the message that a decoded body holds; a request's `_meta` is taken out of its params.

    Raises:
        MalformedMessage: the body is no JSON-RPC 2.0 message.
    """
    if type(value) is not dict:
        raise MalformedMessage("a message is a map with jsonrpc, method or result; batches are refused")
    message = cast("dict[str, Any]", value)
    if "result" in message or "error" in message:
        return _parse_response(message)
    request_id = message.get("id")
    valid_id = type(request_id) is int and 0 <= request_id <= MAX_ID
    if message.get("jsonrpc") != "2.0":
        raise MalformedMessage('a message must have "jsonrpc": "2.0"', request_id if valid_id else None)
    method = message.get("method")
    if type(method) is not str:
        text = "a message needs a method (text), a result or an error"
        raise MalformedMessage(text, request_id if valid_id else None)
    params: dict[str, Any] = message.get("params", _ABSENT)
    if params is _ABSENT:
        params = {}
    elif params.__class__ is not dict:
        raise MalformedMessage(f"params of {method} must be a map", request_id if valid_id else None)
    if "id" not in message:
        return Notification(method, params)
    if type(request_id) is not int or not valid_id:
        text = f"the id of {method} is {request_id!r}; ids are integers from 0 to {MAX_ID}"
        raise MalformedMessage(text)
    meta = params.pop("_meta", None)
    return Request(request_id, method, params, NO_META if meta is None else parse_meta(meta, request_id), encoding)


_ABSENT: Any = object()


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def _parse_response(message: dict[str, Any]) -> Response:
    # Its id is one of this side's, so that a malformed response is never answered under its id.
    response_id = message.get("id")
    if message.get("jsonrpc") != "2.0" or "method" in message or ("result" in message) == ("error" in message):
        raise MalformedMessage('a response has "jsonrpc": "2.0", no method, and either a result or an error')
    if not _is_id(response_id) and (response_id is not None or "error" not in message):
        raise MalformedMessage(f"the id of a response is {response_id!r}; ids are integers from 0 to {MAX_ID}")
    if "result" in message:
        return Response(response_id, message["result"])
    error = message["error"]
    if type(error) is not dict:
        raise MalformedMessage("the error of a response must be a map {code, message, data}")
    return Response(response_id, error=BridgeError.from_object(cast("dict[str, Any]", error)))


MAX_NAME = 256
"""Characters of ids of sessions, tenants, keys and names of variables."""

_NAME = f"1 to {MAX_NAME} printable characters"
_META_TYPES: dict[str, tuple[type, str]] = {
    "deadline_ms": (int, "an integer of milliseconds, 0 or more"),
    "stream": (bool, "true or false"),
    "credit": (int, "an integer, 0 or more"),
    "session": (str, _NAME),
    "tenant": (str, _NAME),
    "idempotency_key": (str, _NAME),
    "traceparent": (str, "text"),
    "within": (list, "a list of session ids"),
}
_NAMES = frozenset({"session", "tenant", "idempotency_key"})


def is_name(value: Any) -> bool:
    """Whether a value can be the id of a session, a tenant, or a key: 1 to `MAX_NAME` printable characters."""
    return type(value) is str and 0 < len(value) <= MAX_NAME and value.isprintable()


def _fits(name: str, kind: type, member: Any) -> bool:
    if kind is int:
        return member >= 0
    if name in _NAMES:
        return is_name(member)
    return kind is not list or all(is_name(item) for item in member)


def parse_meta(value: Any, request_id: int | None = None) -> Meta:
    """Return the typed `_meta`; members that are not known are ignored, null counts as absent.

    Raises:
        MalformedMessage: a member has the wrong type, or is no name where one belongs.
    """
    if type(value) is not dict:
        raise MalformedMessage("params._meta must be a map", request_id)
    members = cast("dict[str, Any]", value)
    meta = Meta()
    for name, member in members.items():
        if member is None or (known := _META_TYPES.get(name)) is None:
            continue
        kind, wanted = known
        if type(member) is not kind or not _fits(name, kind, member):
            raise MalformedMessage(f"params._meta.{name} must be {wanted}, it is {member!r:.80}", request_id)
        setattr(meta, name, member)
    if meta.credit > MAX_CREDIT:
        meta.credit = MAX_CREDIT
    return meta


def request_map(
    request_id: int, method: str, params: dict[str, Any] | None, meta: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the map of a request; `meta` goes into `params._meta`."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if meta:
        message["params"] = {**(params or {}), "_meta": meta}
    elif params:
        message["params"] = params
    return message


def notification_map(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the map of a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


def result_map(request_id: int, result: Any) -> dict[str, Any]:
    """Return the map of a successful response."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_map(request_id: int | None, error: BridgeError) -> dict[str, Any]:
    """Return the map of a failed response; the id is null when the request cannot be told."""
    return {"jsonrpc": "2.0", "id": request_id, "error": error.to_object()}


__all__ = [
    "DEFAULT_CREDIT",
    "MAX_CREDIT",
    "MAX_ID",
    "MAX_NAME",
    "NO_META",
    "MalformedMessage",
    "Message",
    "Meta",
    "Notification",
    "Request",
    "Response",
    "error_map",
    "is_name",
    "notification_map",
    "parse_message",
    "parse_meta",
    "request_map",
    "result_map",
]
