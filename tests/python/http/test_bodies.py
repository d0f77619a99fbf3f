"""What may stand in bodies: requests are strict JSON, answers hold whatever a program gave."""

import datetime
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from python_bridge.client import Client
from python_bridge.errors import BridgeError
from python_bridge.testing import Answer
from python_bridge.transports.http import bodies
from tests.python.http.conftest import TOKEN, Server
from tests.python.http.test_api import QA, events

OUTPUTS: list[tuple[str, str, Any, Any]] = [
    ("float", "NaN", {"$type": "float", "value": "nan"}, None),
    ("float", "-Infinity", {"$type": "float", "value": "-inf"}, float("-inf")),
    ("int", "1" + "0" * 400, {"$type": "int", "value": "1" + "0" * 400}, 10**400),
    ("set[str]", '["a"]', {"$type": "set", "items": ["a"]}, frozenset({"a"})),
    ("datetime.date", "2026-01-02", {"$type": "date", "value": "2026-01-02"}, datetime.date(2026, 1, 2)),
]


def add_program(server: Server, name: str, signature: str) -> None:
    program = {"format": 1, "kind": "predict", "signature": signature}
    Path(server.settings.programs, f"{name}.json").write_text(json.dumps(program))


@pytest.mark.req("RT-1", "RT-2", "EX-2", "EX-13")
@pytest.mark.parametrize(("kind", "text", "tagged", "value"), OUTPUTS)
def test_outputs_that_json_lacks_are_tagged_and_the_client_reads_them(
    server: Server, client: httpx.Client, kind: str, text: str, tagged: Any, value: Any
) -> None:
    add_program(server, "kind", f"question -> answer: {kind}")
    body = {"program_id": "kind", "inputs": {"question": "?"}}
    server.lm.push(*[Answer(fields={"answer": text})] * 3)
    keyed = [client.post("/execute", json=body, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [response.json()["outputs"]["answer"] for response in keyed] == [tagged, tagged]
    with client.stream("POST", "/execute/stream", json=body) as response:
        assert [*events(response)][-1][1]["outputs"]["answer"] == tagged
    kept = client.get(f"/execution/{keyed[0].json()['execution_id']}")
    assert kept.json() == keyed[0].json()
    assert client.get("/executions").status_code == 200
    with Client(server.url, TOKEN) as reader:
        read = reader.execution(kept.json()["execution_id"]).outputs["answer"]
    assert read == value or (value is None and read != read)


@pytest.mark.req("RT-2")
def test_half_a_surrogate_pair_from_an_lm_is_replaced(server: Server, client: httpx.Client) -> None:
    server.lm.push(Answer(fields={"answer": "a\ud800b"}))
    assert client.post("/execute", json=QA).json()["outputs"] == {"answer": "a\ufffdb"}


@pytest.mark.req("RT-2", "EX-4")
@pytest.mark.parametrize(
    ("inputs", "status"),
    [
        (b'{"question": NaN}', 400),
        (b'{"question": [-Infinity, 12345678901234567890]}', 400),
        (b'{"question": 1e400}', 400),
        (b'{"question": "\\ud800"}', 400),
        (b'{"question": "\\ud800", "n": 12345678901234567890}', 400),
        (b'{"question": "a", "question": "b"}', 400),
        (b'{"question": "a", "question": 12345678901234567890}', 400),
        (b'{"question": ' + b"[" * 200 + b"]" * 200 + b"}", 413),
        (b'{"question": ' + b"[" * 900 + b"12345678901234567890" + b"]" * 900 + b"}", 413),
        (b'{"question": ' + b"9" * 5000 + b"}", 400),
        (b'{"question": {"$type": "nonsense"}}', 400),
    ],
)
@pytest.mark.parametrize("path", ["/execute", "/execute/stream"])
def test_a_body_that_is_no_strict_json_is_refused(client: httpx.Client, inputs: bytes, status: int, path: str) -> None:
    content = b'{"program_id": "qa", "inputs": ' + inputs + b"}"
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    response = client.post(path, content=content, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.req("RT-2", "FR1.2.4")
@pytest.mark.parametrize("number", [2**63, 2**64, 2**70, -(2**70), 10**400])
def test_integers_keep_their_digits(number: int) -> None:
    assert bodies.read(json.dumps({"n": [number, 0.25]}).encode()) == {"n": [number, 0.25]}


@pytest.mark.req("RT-2")
def test_what_is_tagged_in_a_request_is_read() -> None:
    body = {"a": {"$type": "date", "value": "2026-01-02"}, "n": 2**70}
    assert bodies.read(json.dumps(body).encode()) == {"a": datetime.date(2026, 1, 2), "n": 2**70}
    with pytest.raises(BridgeError, match="same key twice"):
        bodies.read(b'{"a": 1, "a": 2}')


@pytest.mark.req("RT-2", "NFR2.2.2")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_a_body_of_another_type_is_told_which_one_is_wanted(client: httpx.Client, kind: str) -> None:
    response = client.post("/execute", content=json.dumps(QA), headers={"content-type": kind})
    assert response.status_code == 415
    assert "send Content-Type: application/json" in response.json()["detail"]


@pytest.mark.req("RT-2")
@pytest.mark.parametrize("kind", ["application/json;charset=utf-8", "Application/JSON", "application/vnd.x+json"])
def test_the_types_of_json_are_taken(client: httpx.Client, kind: str) -> None:
    assert client.post("/execute", content=json.dumps(QA), headers={"content-type": kind}).status_code == 200


@pytest.mark.req("RT-1", "NFR2.2.2")
@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"signature": [1]}', '{"signature": {"fields": [1, {"x": 1}]}}', '{"signature": {"fields": 1}}'],
)
def test_a_damaged_program_leaves_the_others_alone(server: Server, client: httpx.Client, text: str) -> None:
    Path(server.settings.programs, "damaged.json").write_text(text)
    views = {entry["program_id"]: entry for entry in client.get("/programs").json()["programs"]}
    assert set(views) == {"damaged", "qa", "typed"}
    assert views["qa"].get("error") is None
    assert ("error" in views["damaged"]) == (text in ("{", "[1]"))
    refused = client.post("/execute", json={"program_id": "damaged", "inputs": {}})
    assert refused.status_code == 422 or refused.json()["success"] is False


@pytest.mark.req("EX-13", "FR1.2.4")
def test_the_client_sends_what_json_lacks(server: Server) -> None:
    add_program(server, "when", "day: datetime.date, mark: dict -> answer")
    inputs = {"day": datetime.date(2026, 1, 2), "mark": {"$type": "mine", "n": float("inf")}}
    with Client(server.url, TOKEN) as sender:
        assert sender.execute("when", inputs).error is None
        asked = str(server.lm.asked[-1].messages)
        with pytest.raises(BridgeError, match="cannot be written as JSON"):
            sender.execute("qa", {"question": object()})
    assert "2026-01-02" in asked
    assert "mine" in asked


@pytest.mark.req("RT-2", "EX-10")
@pytest.mark.parametrize("path", ["/execute", "/execute/batch"])
@pytest.mark.parametrize("sent", [b"", b'{"program_id"'])
def test_a_body_that_does_not_come_ends_its_connection(tmp_path: Path, path: str, sent: bytes) -> None:
    server = Server(tmp_path, body_timeout=0.1)
    head = (
        f"POST /api/v1/dspy{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=30) as connection:
        connection.sendall(head.encode() + sent)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    server.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_timeout" in answer
