"""What becomes of work when the server is stopped."""

import signal
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from python_bridge.testing import Answer, Gate
from tests.python.http.conftest import Server
from tests.python.http.test_api import QA, events
from tests.python.http.test_serve import serving

BATCH = {"program_id": "qa", "inputs_list": [{"question": "?"}]}


def never(server: Server) -> Answer:
    """Let the LM take its next question, and not answer it."""
    answer = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(answer)
    return answer


@pytest.mark.req("RT-1", "RT-2", "NFR2.2.2")
@pytest.mark.parametrize(("path", "body"), [("/execute", QA), ("/execute/batch", BATCH)])
def test_work_that_outlasts_a_shutdown_is_told_so(server: Server, client: httpx.Client, path: str, body: Any) -> None:
    answer = never(server)
    told: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: told.append(client.post(path, json=body)))
    asking.start()
    answer.reached.wait(30)
    server.api.drain(0)
    asking.join(30)
    assert told[0].status_code == 503
    assert (told[0].json()["kind"], told[0].json()["retryable"]) == ("unavailable", True)
    assert "stopped before the work was done" in told[0].json()["detail"]
    assert told[0].headers["retry-after"] == "1"


@pytest.mark.req("RT-2", "FR1.3.3")
def test_a_stream_that_outlasts_a_shutdown_ends_with_an_error(server: Server, client: httpx.Client) -> None:
    answer = never(server)
    told: list[Any] = []

    def read() -> None:
        with client.stream("POST", "/execute/stream", json=QA) as response:
            told.extend(events(response))

    reading = threading.Thread(target=read)
    reading.start()
    answer.reached.wait(30)
    server.api.drain(0)
    reading.join(30)
    name, data = told[-1]
    assert (name, data["data"]["kind"]) == ("error", "unavailable")


@pytest.mark.req("RT-1", "RT-2")
def test_a_server_that_drains_is_not_ready_and_finishes_what_it_has(server: Server, client: httpx.Client) -> None:
    answer = never(server)
    told: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: told.append(client.post("/execute", json=QA)))
    asking.start()
    answer.reached.wait(30)
    server.api.drain(60)
    assert httpx.get(f"{server.url}/readyz").status_code == 503
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    with server.client() as other:
        refused = other.post("/execute", json=QA)
    assert answer.gate is not None
    answer.gate.open()
    asking.join(30)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert told[0].json()["outputs"] == {"answer": "never"}


@pytest.mark.req("RT-1", "BC4")
@pytest.mark.parametrize("flags", [[], ["--workers", "2"]])
def test_a_second_signal_ends_the_server_at_once_with_status_1_and_no_traceback(
    flags: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, *flags) as (process, url), socket.socket() as held:
        held.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        held.sendall(b"POST /api/v1/dspy/execute HTTP/1.1\r\nHost: localhost\r\n")
        held.sendall(b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.send_signal(signal.SIGTERM)
        while not refuses(url):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
        held.settimeout(30)
        assert held.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    assert "Traceback" not in capfd.readouterr().err


def refuses(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.TransportError:
        return True
    return False
