"""Executions that go past the framework are answered as those that go through it."""

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.python.http.conftest import Server

QA: dict[str, Any] = {"program_id": "qa", "inputs": {"question": "?"}}
BODIES: list[bytes] = [
    *(
        json.dumps(body).encode()
        for body in (
            QA,
            {**QA, "mode": "dry_run", "timeout": 5, "session_id": "s"},
            {**QA, "mode": "debug", "timeout": None, "session_id": None},
            {**QA, "timeout": "5"},
            {**QA, "timeout": True},
            {**QA, "timeout": math.nan},
            {**QA, "timeout": -1},
            {**QA, "timeout": 2**70},
            {**QA, "mode": "fast"},
            {**QA, "session_id": 7},
            {**QA, "more": 1},
            {**QA, "inputs": {}},
            {**QA, "inputs": {"question": 2**70}},
            {**QA, "inputs": {"question": math.inf}},
            {**QA, "inputs": {"question": "\ud800"}},
            {**QA, "inputs": {"question": None, "other": 1}},
            {**QA, "inputs": {"question": {"$type": "date", "value": "2026-01-02"}}},
            {**QA, "inputs": {"question": {"$type": "nonsense"}}},
            {**QA, "inputs": [1]},
            {"program_id": "none", "inputs": {}},
            {"program_id": "../qa", "inputs": {}},
            {"inputs": {}},
            [QA],
            None,
        )
    ),
    b"",
    b"{",
    b'{"program_id": "qa", "inputs": {"question": "a"}} x',
    b'{"program_id": "none", "program_id": "qa", "inputs": {"question": "twice"}}',
    b'{"program_id": "qa", "inputs": {"question": "\xff"}}',
    b'\xef\xbb\xbf{"program_id": "qa", "inputs": {"question": "after a mark"}}',
    json.dumps(QA).encode("utf-16"),
    b'{"program_id": "qa", "inputs": {"question": ' + b"[" * 300 + b"]" * 300 + b"}}",
    b'{"program_id": "qa", "inputs": {"question": ' + b"9" * 5000 + b"}}",
]
_CHANGING = ("execution_id", "execution_time", "request_id", "debug_trace")


def told(response: httpx.Response) -> Any:
    """What of an answer is the same each time."""

    def lasting(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: lasting(entry) for name, entry in value.items() if name not in _CHANGING}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return value

    headers = {name: value for name, value in response.headers.items() if name not in ("date", "x-request-id")}
    headers.pop("content-length")
    return response.status_code, headers, list(response.headers), list(response.json()), lasting(response.json())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server = Server(tmp_path_factory.mktemp("server"))
    with server.client() as connected:
        yield connected
    server.close()


@pytest.mark.req("RT-1", "RT-2")
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_gets_one_answer_whichever_way_it_takes(client: httpx.Client, body: bytes) -> None:
    # A type of its own takes the framework's way.
    client.post("/execute", content=body, headers={"content-type": "application/json"})
    direct = client.post("/execute", content=body, headers={"content-type": "application/json"})
    framed = client.post("/execute", content=body, headers={"content-type": "application/x+json"})
    assert told(direct) == told(framed)
    in_parts = client.post("/execute", content=iter([body[:5], body[5:]]), headers={"content-type": "application/json"})
    assert told(in_parts) == told(framed)


@pytest.mark.req("RT-1", "RT-2")
@pytest.mark.parametrize(
    "headers", [{"idempotency-key": "k"}, {"idempotency-key": "a b"}, {"idempotency-key": "x" * 257}]
)
def test_keys_are_one_whichever_way_their_request_takes(client: httpx.Client, headers: dict[str, str]) -> None:
    first, framed, direct = (
        client.post("/execute", json=QA, headers={**headers, "content-type": f"application/{kind}"})
        for kind in ("json", "x+json", "json")
    )
    assert told(framed) == told(direct)
    assert first.status_code == framed.status_code
    assert ("idempotent-replayed" in direct.headers) is (direct.status_code == 200)
