"""The server as a process, scripted over HTTP."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

COMMAND = [sys.executable, "-m", "python_bridge.testing.openai_server", "--exit-on-eof"]
BODY = {"model": "m", "messages": [{"role": "user", "content": "The mill is red. Is it?"}]}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*COMMAND, "--port-file", str(tmp_path / "port")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        assert (tmp_path / "port").read_text() == str(said["port"])
        try:
            yield running, said["base_url"].removesuffix("/v1")
        finally:
            running.kill()


def control(client: httpx.Client, command: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/control", json=command)
    assert response.status_code == 200, response.text
    return response.json()


def test_it_is_scripted_and_read_over_http(process: tuple[subprocess.Popen[str], str]) -> None:
    _, url = process
    with httpx.Client(base_url=url, timeout=30) as client:
        state = control(
            client, {"push": [{"text": "one"}, {"status": 429, "retry_after": 2}], "default": {"text": "z"}}
        )
        assert state["left"] == 2
        first, second, third = (client.post("/v1/chat/completions", json=BODY) for _ in range(3))
        assert first.json()["choices"][0]["message"]["content"] == "one"
        assert (second.status_code, second.headers["retry-after"]) == (429, "2")
        assert third.json()["choices"][0]["message"]["content"] == "z"
        state = client.get("/control", params={"requests": 3}).json()
        assert [request["body"] for request in state["requests"]] == [BODY] * 3
        assert control(client, {"reset": True})["requests"] == []


def test_disconnects_are_told_and_stalls_released(process: tuple[subprocess.Popen[str], str]) -> None:
    _, url = process
    with httpx.Client(base_url=url, timeout=30) as client:
        control(client, {"push": [{"stall": True, "times": 2}]})
        with httpx.Client(base_url=url, timeout=httpx.Timeout(30, read=0.2)) as hasty, pytest.raises(httpx.ReadTimeout):
            hasty.post("/v1/chat/completions", json=BODY)
        state = client.get("/control", params={"disconnects": 1}).json()
        assert state["requests"][0]["disconnected_after"] > 0
        assert client.get("/control", params={"requests": 5, "timeout": 0.01}).status_code == 408


def test_wrong_commands_are_refused_with_what_is_known(process: tuple[subprocess.Popen[str], str]) -> None:
    _, url = process
    with httpx.Client(base_url=url, timeout=30) as client:
        for command, said in [({"pish": []}, "pish"), ({"push": [{"txt": "a"}]}, "txt"), ([], "keys")]:
            response = client.post("/control", json=command)
            assert response.status_code == 400
            assert said in response.json()["error"]["message"]


@pytest.mark.parametrize("end", ["end of input", "SIGTERM"])
def test_it_ends_when_asked(process: tuple[subprocess.Popen[str], str], end: str) -> None:
    running, _ = process
    assert running.stdin is not None
    if end == "SIGTERM":
        running.send_signal(signal.SIGTERM)
    else:
        running.stdin.close()
    assert running.wait(30) == 0


def test_it_runs_without_dspy() -> None:
    code = "import sys, python_bridge.testing.openai_process; print('dspy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
