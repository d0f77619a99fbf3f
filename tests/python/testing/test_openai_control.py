"""The control endpoint, and answers that are scripted in detail."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from python_bridge.testing import Behaviour, OpenAIServer
from python_bridge.testing import __getattr__ as lookup

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "The mill is red. Is it?"}]}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url.removesuffix("/v1"), timeout=30) as made:
        yield made


def ask(client: httpx.Client, **more: Any) -> dict[str, Any]:
    return client.post("/v1/chat/completions", json={**BODY, **more}).json()


def test_commands_script_the_server_and_tell_its_state(server: OpenAIServer, client: httpx.Client) -> None:
    command = {"push": [{"text": "a", "times": 2}, {"fields": {"x": "b"}}], "default": {"text": "z"}, "release": True}
    assert client.post("/control", json=command).json()["left"] == 3
    assert [ask(client)["choices"][0]["message"]["content"] for _ in range(4)] == ["a", "a", "b", "z"]
    state = client.get("/control?requests=4").json()
    assert [request["number"] for request in state["requests"]] == [1, 2, 3, 4]
    assert state["requests"][0]["body"] == BODY
    assert client.post("/control", json={"reset": True}).json() == {"requests": [], "disconnects": 0, "left": 0}
    assert server.default == Behaviour()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ({"pish": 1}, "pish"),
        ({"push": [{"txt": 1}]}, "known are text"),
        ([], "keys"),
        ("x", "keys"),
        ({"push": 3}, "int"),
    ],
)
def test_wrong_commands_are_refused(client: httpx.Client, command: Any, said: str) -> None:
    response = client.post("/control", json=command)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


def test_waiting_over_http_times_out_with_what_was_seen(client: httpx.Client) -> None:
    response = client.get("/control?requests=1&timeout=0.01")
    assert response.status_code == 408
    assert "saw 0 requests" in response.json()["error"]["message"]
    assert client.get("/control?requests=many").status_code == 400


def test_details_of_an_answer_are_as_scripted(server: OpenAIServer, client: httpx.Client) -> None:
    server.push(Behaviour(text="cut off", finish_reason="length", usage=(5, 2), headers={"x-ratelimit-left": "9"}))
    response = client.post("/v1/chat/completions", json={**BODY, "n": 2})
    answer = response.json()
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert response.headers["x-ratelimit-left"] == "9"
    assert response.headers["x-request-id"] == "req_1"


def test_tool_calls_are_streamed(server: OpenAIServer, client: httpx.Client) -> None:
    server.push(Behaviour(tool_calls=({"name": "add", "arguments": {"a": 1}},)))
    lines = client.post("/v1/chat/completions", json={**BODY, "stream": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]
    assert events[1]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000,
        b"GET / HTT",
    ],
    ids=["short body", "huge body", "bad chunk", "endless head", "half a line"],
)
def test_broken_requests_end_with_a_status(server: OpenAIServer, sent: bytes) -> None:
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert not server.exchanges


def test_an_unused_connection_and_a_closing_one_are_fine(server: OpenAIServer) -> None:
    with socket.create_connection((server.host, server.port), timeout=30):
        pass
    with httpx.Client(headers={"connection": "close"}) as client:
        assert client.get(f"{server.base_url}/models").status_code == 200


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        lookup("Nothing")
