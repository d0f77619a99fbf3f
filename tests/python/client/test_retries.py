"""What is sent again, told by a peer that answers what is written here."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from python_bridge.client import BridgeError, Client, ExecutionResult, StreamEvent
from python_bridge.client.events import EventReader
from python_bridge.client.retries import Retries
from tests.python.client.conftest import ScriptedPeer, answer

GOOD = answer(200, json.dumps({"success": True, "outputs": {"answer": "1"}, "later": "member"}))
DROPPED = b""
pytestmark = pytest.mark.req("EX-13")


def problem(kind: str, status: int, *headers: str, retryable: bool = True) -> bytes:
    body = {"kind": kind, "detail": f"told: {kind}", "retryable": retryable, "status": status}
    return answer(status, json.dumps(body), *headers, kind="application/problem+json")


@pytest.mark.parametrize(
    "refusal",
    [
        problem("overloaded", 503, "Retry-After: 0"),
        problem("overloaded", 429, "Retry-After: 0"),
        problem("unavailable", 503),
        problem("conflict", 409, "Retry-After: 0"),
        answer(502, "<html>bad gateway</html>", kind="text/html"),
        DROPPED,
    ],
)
def test_what_may_pass_is_sent_again_under_the_same_key(refusal: bytes) -> None:
    with ScriptedPeer(refusal, GOOD) as peer, Client(peer.url) as client:
        assert client.execute("qa", {}).outputs == {"answer": "1"}
    first, second = peer.seen
    assert first[0]["idempotency-key"] == second[0]["idempotency-key"]
    assert first[1] == second[1]


def test_every_execution_has_a_key_of_its_own() -> None:
    with ScriptedPeer(GOOD, GOOD) as peer, Client(peer.url) as client:
        client.execute("qa", {})
        client.execute("qa", {})
    assert peer.seen[0][0]["idempotency-key"] != peer.seen[1][0]["idempotency-key"]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (problem("invalid_input", 422, retryable=False), "invalid_input"),
        (problem("unavailable", 503, retryable=False), "unavailable"),
        (problem("overloaded", 429, "Retry-After: 86400"), "overloaded"),
        (problem("conflict", 409), "conflict"),
        (answer(200, "no json"), "protocol_error"),
        (answer(302, "", "Location: /elsewhere"), "protocol_error"),
        (answer(200, "[]"), "protocol_error"),
    ],
)
def test_what_will_not_pass_is_told_at_once(refusal: bytes, kind: str) -> None:
    with ScriptedPeer(refusal, GOOD) as peer, Client(peer.url) as client:
        with pytest.raises(BridgeError) as caught:
            client.execute("qa", {})
        assert caught.value.kind == kind
    assert len(peer.seen) == 1


def test_a_job_that_may_have_started_is_not_started_again() -> None:
    with ScriptedPeer(DROPPED, GOOD) as peer, Client(peer.url) as client:
        with pytest.raises(BridgeError) as caught:
            client.submit_batch("qa", [{}])
        assert (caught.value.kind, caught.value.retryable) == ("unavailable", True)
    assert len(peer.seen) == 1


def test_retries_end() -> None:
    with ScriptedPeer(*[DROPPED] * 5) as peer, Client(peer.url, retries=1) as client, pytest.raises(BridgeError):
        client.health()
    assert len(peer.seen) == 2


def test_a_server_that_never_answers_is_a_timeout_and_is_not_asked_again() -> None:
    with ScriptedPeer() as peer, Client(peer.url, timeout=0.1) as client, pytest.raises(BridgeError) as caught:
        client.execute("qa", {})
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        ("event: token\ndata: {}\n\n", "unavailable"),
        ("event: token\ndata: nothing\n\n", "protocol_error"),
        ('event: error\ndata: {"message": "told", "data": {"kind": "lm_error"}}\n\n', "lm_error"),
        ('event: error\ndata: {"message": "the work was stopped"}\n\n', "cancelled"),
    ],
)
def test_a_stream_without_a_result_ends_with_an_error(sent: str, kind: str) -> None:
    peer = ScriptedPeer(answer(200, sent, kind="text/event-stream"))
    with peer, Client(peer.url) as client, pytest.raises(BridgeError) as caught:
        list(client.stream("qa", {}))
    assert caught.value.kind == kind


def test_waits_double_up_to_their_cap_and_follow_the_server_where_it_asks() -> None:
    retries = Retries(4, repeatable=True, base=1.0, cap=2.0)
    lost = BridgeError("unavailable", "")
    waits = [retries.delay(lost) or 0 for _ in range(3)]
    assert 0.5 <= waits[0] <= 1.0
    assert all(1.0 <= wait <= 2.0 for wait in waits[1:])
    assert retries.delay(BridgeError("overloaded", "", retry_after=7.0)) == 7.0
    assert retries.delay(lost) is None


@given(st.text() | st.just("a\u2028b\u0085c\x0bd"), st.data())
def test_events_are_the_same_however_their_bytes_are_cut(text: str, data: st.DataObject) -> None:
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    token = json.dumps({"type": "token", "text": text}, ensure_ascii=False)
    result = json.dumps({"success": True})
    lines = [": ping", "id: 0", "event: token", f"data: {token}", "", "event: result", f"data:{result}", "", ":", ""]
    whole = end.join(lines).encode()
    reader = EventReader()
    got: list[StreamEvent | ExecutionResult] = []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        got += reader.feed(whole[:size])
        whole = whole[size:]
    assert got == [StreamEvent("token", {"type": "token", "text": text}), ExecutionResult(success=True)]


def test_an_event_above_the_limit_is_refused() -> None:
    with pytest.raises(BridgeError) as caught:
        EventReader(limit=10).feed(b"data: 0123456789")
    assert caught.value.kind == "limit_exceeded"


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://"])
def test_a_base_url_that_is_none_of_http_is_refused(url: str) -> None:
    with pytest.raises(BridgeError) as caught:
        Client(url)
    assert caught.value.kind == "invalid_request"


def test_without_httpx_the_line_that_installs_it_is_told() -> None:
    script = """
import sys
sys.modules["httpx"] = None
from python_bridge.client import BridgeError, Client
try:
    Client("http://127.0.0.1:1")
except BridgeError as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'python-bridge[client]'" in done.stdout
