"""Messages: golden vectors, and strictness."""

from typing import Any

import pytest
from golden import vectors
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.errors import ERROR_KINDS, BridgeError
from python_bridge.protocol.messages import (
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
from python_bridge.wire import json, msgpack

pytestmark = pytest.mark.req("FR2.2.3", "NFR2.2.1")


META = ("deadline_ms", "stream", "credit", "session", "tenant", "idempotency_key", "traceparent")


def shown(message: Any) -> dict[str, Any]:
    match message:
        case Request():
            meta = {name: getattr(message.meta, name) for name in META}
            return {
                "type": "request",
                "id": message.id,
                "method": message.method,
                "params": message.params,
                "meta": meta,
            }
        case Notification():
            return {"type": "notification", "method": message.method, "params": message.params}
        case Response(error=None):
            return {"type": "result", "id": message.id, "result": message.result}
        case Response(error=error):
            return {"type": "error", "id": message.id, "kind": error.kind, "message": error.message}


def bodies(case: dict[str, Any]) -> list[Any]:
    return [json.decode(case["json"].encode()), msgpack.decode(bytes.fromhex(case["msgpack"]))]


@pytest.mark.parametrize("case", vectors("messages.json"))
def test_a_golden_message_reads_the_same_in_both_encodings(case: dict[str, Any]) -> None:
    for body in bodies(case):
        assert shown(parse_message(body)) == case["message"]


@pytest.mark.parametrize("case", vectors("messages.json", "invalid"))
def test_a_golden_malformed_message_names_its_error_and_id(case: dict[str, Any]) -> None:
    for body in bodies(case):
        with pytest.raises(MalformedMessage) as caught:
            parse_message(body)
        assert (caught.value.kind, caught.value.request_id) == (case["error"], case["id"])


@pytest.mark.parametrize("case", vectors("messages.json"))
def test_canonical_messages_are_written_exactly_as_the_vector_has_them(case: dict[str, Any]) -> None:
    wanted = case["message"]
    match wanted["type"]:
        case "request":
            written = request_map(wanted["id"], wanted["method"], wanted["params"], None)
        case "notification":
            written = notification_map(wanted["method"], wanted["params"])
        case "result":
            written = result_map(wanted["id"], wanted["result"])
        case _:
            written = error_map(wanted["id"], BridgeError(wanted["kind"], wanted["message"]))
    if case["canonical"]:
        assert json.encode(written).decode() == case["json"]
        assert msgpack.encode(written).hex() == case["msgpack"]


@pytest.mark.parametrize("case", vectors("errors.json"))
def test_a_golden_error_reads_as_what_it_is_and_is_written_back(case: dict[str, Any]) -> None:
    error = BridgeError.from_object(case["object"])
    read = {name: getattr(error, name) for name in case["error"]}
    assert read == case["error"]
    if not case.get("read_only"):
        assert error.to_object() == case["object"]


def test_an_error_object_with_members_of_wrong_types_is_still_an_error() -> None:
    for data in (None, [], "x", {"kind": 5, "retryable": "no", "details": [1], "need": {}, "retry_after": "soon"}):
        error = BridgeError.from_object({"message": 3, "data": data})
        assert error.kind in ERROR_KINDS
        assert error.message == "3"


members = st.dictionaries(
    st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error"]),
    st.one_of(
        st.sampled_from(["2.0", "ping", 7, None, {"_meta": {}}, {"_meta": {"credit": 3}}, [], -1, 2**53]),
        st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    ),
)


@given(value=st.one_of(members, st.integers(), st.lists(members, max_size=2), st.none()))
def test_any_value_is_a_message_or_a_typed_error(value: Any) -> None:
    try:
        message = parse_message(value)
    except MalformedMessage as error:
        message = error
    assert isinstance(message, Request | Notification | Response) or message.kind == "invalid_request"
