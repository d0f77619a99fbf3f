"""The state machines of both ends, fed with bytes."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.errors import BridgeError
from python_bridge.protocol.client import ClientConnection
from python_bridge.protocol.connection import Cancelled, Closed, Connection, CreditGranted, State
from python_bridge.protocol.messages import Notification, Request, Response
from python_bridge.protocol.operations import InitializeParams
from python_bridge.protocol.params import read_params
from python_bridge.protocol.server import ServerConnection
from python_bridge.wire.codec import decode_body, encode_body
from python_bridge.wire.frames import decode_frames, encode_frame
from python_bridge.wire.values import Limits

pytestmark = pytest.mark.req("FR2.2.3", "FR2.2.4", "NFR2.2.1")


def frame(message: dict[str, Any], encoding: Any = "json") -> bytes:
    return encode_frame(encode_body({"jsonrpc": "2.0", **message}, encoding))


def sent(connection: Connection) -> list[dict[str, Any]]:
    return [decode_body(body)[0] for body in decode_frames(connection.take_output()) if isinstance(body, bytes)]


def request(number: int, method: str = "echo", **meta: Any) -> bytes:
    return frame({"id": number, "method": method, "params": {"value": 1, "_meta": meta}})


def accept(server: ServerConnection, event: Any) -> int:
    return server.accept(event, read_params(InitializeParams, event.params, "initialize"))


def ready_pair(**options: Any) -> tuple[ServerConnection, ClientConnection]:
    server, client = ServerConnection(**options), ClientConnection()
    client.initialize("test", "1", tools=True)
    (event,) = server.receive(client.take_output())
    assert accept(server, event) == 1
    server.respond(1, {"protocol_version": 1, "limits": {"max_frame_bytes": server.max_frame_bytes}})
    server.ready({"features": []})
    client.receive(server.take_output())
    assert (server.state, client.state) == (State.READY, State.READY)
    return server, client


def errors(connection: Connection) -> list[tuple[Any, str]]:
    return [(message["id"], message["error"]["data"]["kind"]) for message in sent(connection)]


def test_a_request_before_initialize_is_refused_but_ping_is_not() -> None:
    server = ServerConnection()
    assert server.receive(request(1)) == []
    assert errors(server) == [(1, "invalid_request")]
    (event,) = server.receive(frame({"id": 2, "method": "ping"}))
    assert isinstance(event, Request)


def test_requests_may_follow_initialize_in_the_same_read() -> None:
    server, client = ServerConnection(), ClientConnection()
    client.initialize("test", "1")
    events = server.receive(client.take_output() + request(2) + frame({"id": 3, "method": "initialize"}))
    assert [event.method for event in events if isinstance(event, Request)] == ["initialize", "echo"]
    assert errors(server) == [(3, "invalid_request")]


@pytest.mark.parametrize("versions", [[], [0, 2], ["1"], [True]])
def test_without_a_common_version_the_error_names_both_lists(versions: list[Any]) -> None:
    server = ServerConnection()
    (event,) = server.receive(frame({"id": 1, "method": "initialize", "params": {"protocol_versions": versions}}))
    assert isinstance(event, Request)
    with pytest.raises(BridgeError) as caught:
        accept(server, event)
    assert caught.value.kind == "unavailable"
    assert str(versions) in caught.value.message
    assert "[1]" in caught.value.message
    assert server.refuse(event.id, caught.value) == Closed(caught.value)
    assert server.state is State.CLOSED
    assert server.receive(request(2)) == []


def test_a_wrong_frame_limit_can_be_mended_by_a_second_initialize() -> None:
    server = ServerConnection()
    for number, limit in enumerate((0, "x", 2**29)):
        params = {"protocol_versions": [1], "limits": {"max_frame_bytes": limit}}
        (event,) = server.receive(frame({"id": number, "method": "initialize", "params": params}))
        with pytest.raises(BridgeError) as caught:
            accept(server, event)
        server.retry(number, caught.value)
    (event,) = server.receive(frame({"id": 9, "method": "initialize", "params": {"protocol_versions": [3, 1]}}))
    assert accept(server, event) == 1


def test_a_client_says_above_which_size_bytes_come_as_attachments() -> None:
    server = ServerConnection()
    client = ClientConnection(Limits(attachment_bytes=4))
    client.initialize("test", "1")
    (event,) = server.receive(client.take_output())
    accept(server, event)
    server.respond(1, {})
    client.receive(server.take_output())
    number = client.request("echo", {"value": b"1234"})
    (_,) = server.receive(client.take_output())
    server.respond(number, {"value": b"12345"})
    assert server.take_output()[4] == 1
    assert server.limits.attachment_bytes == 4


@pytest.mark.parametrize("value", [-1, 1.5, "4", True])
def test_a_wrong_threshold_of_attachments_is_refused_by_name(value: Any) -> None:
    server = ServerConnection()
    params = {"protocol_versions": [1], "limits": {"attachment_bytes": value}}
    (event,) = server.receive(frame({"id": 1, "method": "initialize", "params": params}))
    with pytest.raises(BridgeError, match="attachment_bytes"):
        accept(server, event)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("attached", [False, True])
def test_a_body_that_is_cut_off_anywhere_is_answered_with_an_error_and_the_next_one_is_read(
    encoding: Any, attached: bool
) -> None:
    server, _ = ready_pair()
    message = {"jsonrpc": "2.0", "id": 9, "method": "echo", "params": {"value": [b"bytes", {"a": 1.5}, "Grüße"]}}
    body = encode_body(message, encoding, Limits(attachment_bytes=0 if attached else 99))
    assert (body[0] == 1) == attached
    for end in range(1, len(body)):
        assert server.receive(encode_frame(body[:end])) == []
        ((number, kind),) = errors(server)
        assert kind in ("protocol_error", "invalid_request")
        assert number in (None, 9)  # 9 where enough of it was left to tell
    (event,) = server.receive(encode_frame(body))
    assert event.id == 9


def test_a_duplicate_id_is_answered_without_an_id_and_the_first_request_goes_on() -> None:
    server, _ = ready_pair()
    (first,) = server.receive(request(5))
    assert server.receive(request(5)) == []
    (answer,) = sent(server)
    assert answer["id"] is None
    assert answer["error"]["data"]["details"] == {"id": 5}
    server.respond(5, {"value": 1})
    assert [message["id"] for message in sent(server)] == [5]
    assert isinstance(first, Request)


def test_every_request_gets_at_most_one_answer() -> None:
    server, client = ready_pair()
    number = client.request("echo", {"value": 1})
    server.receive(client.take_output())
    server.respond(number, {"value": 1})
    server.respond(number, {"value": 2})
    events = client.receive(server.take_output())
    assert events == [Response(number, {"value": 1})]


def test_answers_nobody_waits_for_are_counted_and_ignored() -> None:
    server, _ = ready_pair()
    data = frame({"id": 77, "result": 1}) + frame({"id": None, "error": {"code": 1, "message": "x"}})
    assert server.receive(data) == []
    assert server.counters.unexpected_responses == 2
    assert not server.has_output()


def test_a_malformed_message_under_an_id_in_flight_does_not_answer_that_request() -> None:
    server, _ = ready_pair()
    server.receive(request(5))
    server.receive(frame({"id": 5, "method": 3}))
    assert errors(server) == [(None, "invalid_request")]
    assert 5 in server.in_flight


def test_answers_and_events_come_in_the_encoding_of_their_request() -> None:
    server, _ = ready_pair()
    server.receive(frame({"id": 5, "method": "call", "params": {"_meta": {"stream": True}}}, "msgpack"))
    assert server.emit(5, {"type": "status", "message": "x"})
    server.respond(5, {})
    server.notify("log/message", {})
    bodies = decode_frames(server.take_output())
    assert [decode_body(body)[1] for body in bodies if isinstance(body, bytes)] == ["msgpack", "msgpack", "json"]


def test_events_stop_without_credit_and_go_on_with_it() -> None:
    server, client = ready_pair()
    number = client.request("call", {}, {"stream": True, "credit": 2})
    server.receive(client.take_output())
    event = {"type": "status", "message": "x"}
    assert [server.emit(number, event) for _ in range(3)] == [True, True, False]
    client.grant(number, 1)
    assert server.receive(client.take_output()) == [CreditGranted(number)]
    assert [server.emit(number, event) for _ in range(2)] == [True, False]
    server.respond(number, {})
    assert not server.emit(number, event)
    received = client.receive(server.take_output())
    assert [item.params["seq"] for item in received if isinstance(item, Notification)] == [0, 1, 2]


def test_credit_never_grows_above_a_million() -> None:
    server, _ = ready_pair()
    server.receive(request(5, stream=True, credit=999_999))
    for _ in range(3):
        server.receive(frame({"method": "stream/credit", "params": {"id": 5, "n": 2**62}}))
    assert server.in_flight[5].credit == 1_000_000


@pytest.mark.parametrize(
    "params",
    [{}, {"id": 6, "n": 1}, {"id": 5}, {"id": 5, "n": 0}, {"id": 5, "n": -1}, {"id": 5, "n": "1"}, {"id": [], "n": 1}],
)
def test_credit_that_makes_no_sense_is_ignored(params: dict[str, Any]) -> None:
    server, _ = ready_pair()
    server.receive(request(5, stream=True, credit=0) + request(4))
    assert server.receive(frame({"method": "stream/credit", "params": params})) == []
    assert server.receive(frame({"method": "stream/credit", "params": {"id": 4, "n": 1}})) == []
    assert not server.emit(5, {})


def test_a_cancel_of_what_is_in_flight_is_an_event_and_others_are_ignored() -> None:
    server, _ = ready_pair()
    server.receive(request(5))
    assert server.receive(frame({"method": "$/cancelRequest", "params": {"id": 5}})) == [Cancelled(5)]
    for params in ({"id": 6}, {}, {"id": "5"}, {"id": [5]}):
        assert server.receive(frame({"method": "$/cancelRequest", "params": params})) == []
    assert not server.has_output()


def test_unknown_notifications_are_ignored() -> None:
    server, _ = ready_pair()
    assert server.receive(frame({"method": "quux", "params": {"a": 1}})) == []
    assert not server.has_output()


def test_a_draining_connection_takes_control_requests_only() -> None:
    server, _ = ready_pair()
    server.receive(request(5))
    server.drain()
    assert server.receive(request(6)) == []
    assert errors(server) == [(6, "overloaded")]
    assert len(server.receive(frame({"id": 7, "method": "ping"}) + frame({"id": 8, "method": "worker/status"}))) == 2
    server.respond(5, {})
    assert [message["id"] for message in sent(server)] == [5]


def test_values_that_cannot_be_read_are_answered_under_the_id_of_their_request() -> None:
    server, _ = ready_pair()
    deep = b"[" * 500 + b"]" * 500
    for number, value in enumerate((deep, b'{"$type":"nope"}', b'{"a":1,"a":2}', b"tru"), start=10):
        server.receive(
            encode_frame(b'{"jsonrpc":"2.0","id":%d,"method":"echo","params":{"value":%b}}' % (number, value))
        )
    kinds = ["limit_exceeded", "protocol_error", "protocol_error", "protocol_error"]
    assert errors(server) == list(enumerate(kinds, start=10))


@pytest.mark.parametrize("number", [3, 200, 40_000, 2**31, 2**40])
def test_the_id_is_salvaged_from_messagepack_too(number: int) -> None:
    server, _ = ready_pair()
    body = encode_body({"jsonrpc": "2.0", "id": number, "method": "echo", "params": {"value": "x"}}, "msgpack")
    server.receive(encode_frame(body[:-1] + b"\xff"))
    assert errors(server) == [(number, "protocol_error")]


def test_an_unreadable_answer_fails_the_request_that_waits_for_it() -> None:
    server, client = ready_pair()
    number = server.request("tool/call", {"tool": "t"})
    (event,) = client.receive(server.take_output())
    assert isinstance(event, Request)
    (failed,) = server.receive(encode_frame(b'{"jsonrpc":"2.0","id":%d,"result":{"$type":"nope"}}' % number))
    assert isinstance(failed, Response)
    assert failed.error is not None
    assert failed.error.kind == "protocol_error"
    assert server.asked == {}


def test_garbage_is_answered_once_and_closes_the_connection() -> None:
    server, _ = ready_pair()
    (event,) = server.receive(request(5)[:0] + b"GET / HTTP/1.1\r\n")
    assert isinstance(event, Closed)
    assert errors(server) == [(None, "protocol_error")]
    assert server.receive(request(6)) == []


def test_frames_above_the_cap_and_empty_frames_leave_the_connection_open() -> None:
    server, _ = ready_pair(max_frame_bytes=4096)
    data = encode_frame(b"{" + b" " * 5000) + b"\0\0\0\0" + encode_frame(b"\xc0") + request(5)
    assert [event.id for event in server.receive(data) if isinstance(event, Request)] == [5]
    assert errors(server) == [(None, "limit_exceeded"), (None, "protocol_error"), (None, "protocol_error")]


def test_an_answer_above_the_clients_cap_becomes_an_error_of_that_request() -> None:
    server, _ = ready_pair()
    server.peer_max_frame_bytes = 4096
    server.receive(request(5, stream=True) + request(6))
    server.respond(5, {"value": "x" * 5000})
    with pytest.raises(BridgeError, match="4096"):
        server.request("tool/call", {"arguments": "x" * 5000})
    assert errors(server) == [(5, "limit_exceeded")]


def test_a_result_that_is_no_value_becomes_an_error_of_that_request() -> None:
    server, _ = ready_pair()
    server.receive(request(5))
    server.respond(5, {"value": object()})
    assert errors(server) == [(5, "program_error")]


def test_a_client_refuses_tool_calls_it_did_not_announce() -> None:
    client = ClientConnection()
    client.initialize("test", "1")
    client.take_output()
    assert client.receive(frame({"id": 1, "method": "tool/call"}) + frame({"id": 2, "method": "x"})) == []
    assert errors(client) == [(1, "not_found"), (2, "not_found")]


def test_a_hello_of_the_wrong_shape_does_not_break_the_client() -> None:
    client = ClientConnection()
    number = client.initialize("test", "1")
    client.receive(frame({"id": number, "result": {"limits": {"max_frame_bytes": "many"}}}))
    assert client.state is State.INITIALIZED


def test_a_cancel_is_sent_only_for_what_was_asked() -> None:
    server, client = ready_pair()
    number = client.request("echo", {"value": 1})
    client.cancel(number)
    client.cancel(number + 1)
    client.grant(number + 1, 5)
    events = server.receive(client.take_output())
    assert [type(event) for event in events] == [Request, Cancelled]


stream = st.lists(
    st.one_of(
        st.integers(0, 3).map(request),
        st.integers(0, 3).map(lambda number: frame({"method": "$/cancelRequest", "params": {"id": number}})),
        st.integers(0, 3).map(lambda number: frame({"id": number, "result": 1}, "msgpack")),
        st.binary(min_size=1, max_size=30).map(encode_frame),
        st.just(b"\0\0\0\0"),
        st.binary(max_size=6),
    ),
    max_size=8,
).map(b"".join)


@given(data=stream, cuts=st.lists(st.integers(0, 500), max_size=6))
def test_any_bytes_in_any_split_give_the_same_events_and_answers(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    outcomes: list[Any] = []
    for pieces in ([data], [data[start:end] for start, end in itertools.pairwise(edges)]):
        server, _ = ready_pair(limits=Limits(max_depth=8), max_frame_bytes=4096)
        events = [event for piece in pieces for event in server.receive(piece)]
        shown = [str(event) for event in events]
        outcomes.append((shown, server.take_output(), server.state))
    assert outcomes[0] == outcomes[1]
