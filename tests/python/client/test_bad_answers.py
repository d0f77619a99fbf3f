"""What the client makes of servers that answer nonsense, and of arguments that cannot be sent."""

import socket
import threading
from collections.abc import Iterator

import pytest

from python_bridge.client import Client
from python_bridge.client.events import EventReader
from python_bridge.errors import BridgeError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def answering(listener: socket.socket, body: bytes) -> str:
    """Answer one request with `body`; return the address."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(head + body)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.req("EX-13", "NFR2.2.2")
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"{",
        b"[]",
        b'{"success": 1}',
        b'{"success": true, "outputs": 5}',
        b'{"success": true, "metadata": null}',
        b'{"success": true, "outputs": {"a": {"$type": "nonsense"}}}',
    ],
)
def test_an_answer_that_is_no_result_is_a_protocol_error(listener: socket.socket, body: bytes) -> None:
    with Client(answering(listener, body), retries=0) as client, pytest.raises(BridgeError) as caught:
        client.execution("e")
    assert caught.value.kind == "protocol_error"


@pytest.mark.req("EX-13", "NFR2.2.2")
@pytest.mark.parametrize("url", ["http://[::1", "http://", "http://:80", "http://h:99999", "http://h:x", "ftp://h", ""])
def test_an_address_that_is_none_of_http_is_told(url: str) -> None:
    with pytest.raises(BridgeError, match="it must be like http://host:8000"):
        Client(url)


@pytest.mark.req("EX-13")
@pytest.mark.parametrize("token", ["hush\nhush", "hush\x00", "\ud800hush", " "])
def test_a_token_that_no_header_carries_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(BridgeError) as caught:
        Client("http://127.0.0.1:1", token)
    assert caught.value.kind == "invalid_request"
    assert "hush" not in str(caught.value)


@pytest.mark.req("EX-13")
@pytest.mark.parametrize("key", ["", "a b", "é", "a\r\nb", "x" * 257])
def test_an_idempotency_key_that_no_header_carries_is_refused(key: str) -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(BridgeError) as caught:
        client.execute("qa", {}, idempotency_key=key)
    assert caught.value.kind == "invalid_input"


@pytest.mark.req("EX-13")
def test_a_closed_client_says_so() -> None:
    client = Client("http://127.0.0.1:1")
    client.close()
    with pytest.raises(BridgeError, match="the client was closed"):
        client.health()


@pytest.mark.req("EX-13", "FR1.3.3")
def test_the_limit_is_of_one_event_and_not_of_all() -> None:
    reader = EventReader(limit=40)
    for _ in range(20):
        assert len(reader.feed(b'event: token\ndata: {"text": "a"}\n\n')) == 1
    reader.feed(b"data: 01234567890123456789\n")
    with pytest.raises(BridgeError, match="more than 40 bytes"):
        reader.feed(b"data: 01234567890123456789")
