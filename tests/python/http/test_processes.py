"""Several processes behind one port answer as one server."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.python.http.test_serve import INPUTS, children_of, serving

PATH = "/api/v1/dspy"
ONE = {"program_id": "qa", "inputs": INPUTS}
MANY = {"program_id": "qa", "inputs_list": [{**INPUTS, "question": f"{n}?"} for n in range(10_000)]}


@contextlib.contextmanager
def connected(url: str) -> Iterator[list[httpx.Client]]:
    """Connections that stay open, as many as it takes for each of two processes to have some."""
    clients: list[httpx.Client] = []
    with contextlib.ExitStack() as stack:
        while len(clients) < 200:
            clients.append(stack.enter_context(httpx.Client(base_url=url + PATH, timeout=60)))
            told = clients[-1].get("/stats").json()
            if len(clients) >= 4 and [one["connections"] > 0 for one in told["processes"]] == [True, True]:
                break
        yield clients


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with serving(tmp_path_factory.mktemp("pool"), "--workers", "2") as (process, url):
        ready(url)
        yield process, url


def ready(url: str) -> None:
    """Wait until both processes answer."""
    while httpx.get(f"{url}{PATH}/health", timeout=60).json()["workers_answering"] < 2:
        pass


@pytest.mark.req("RT-1", "NFR2.1.4", "EX-7")
def test_the_cache_is_cleared_in_every_process_and_statistics_are_those_of_all(
    pool: tuple[subprocess.Popen[str], str],
) -> None:
    with connected(pool[1]) as clients:
        before = clients[0].get("/stats").json()["total_executions"]

        def cached() -> list[str]:
            return [client.post("/execute", json=ONE).json()["metadata"]["cache"] for client in clients]

        assert cached().count("miss") == 2
        assert set(cached()) == {"hit"}
        assert clients[0].post("/cache/clear", json={"program_id": "qa"}).json() == {"cleared": 2}
        assert cached().count("miss") == 2
        told = [client.get("/stats").json() for client in clients]
        assert {one["total_executions"] - before for one in told} == {3 * len(clients)}
        assert {one["cache"]["entries"] for one in told} == {2}
        assert len({json.dumps([row["pid"] for row in one["processes"]]) for one in told}) == 1
        metrics = clients[0].get(f"{pool[1]}/metrics").text
        assert f'dspex_executor_executions_total{{outcome="success"}} {before + 3 * len(clients)}.0' in metrics
        assert "dspex_http_processes 2.0" in metrics
        assert clients[0].get("/health").json()["workers"] == 2
        ready(pool[1])


@pytest.mark.req("RT-1", "NFR2.1.4")
def test_a_job_is_told_and_stopped_through_any_process(pool: tuple[subprocess.Popen[str], str]) -> None:
    with connected(pool[1]) as clients:
        job = clients[0].post("/execute/batch?async=true", json=MANY).json()["batch_id"]
        for client in clients:
            assert client.post(f"/batch/{job}/cancel").json()["status"] in ("running", "cancelled")
        while clients[0].get(f"/batch/{job}").json()["status"] == "running":
            pass
        assert {client.get(f"/batch/{job}").json()["status"] for client in clients} == {"cancelled"}
        results = clients[-1].get(f"/batch/{job}/results").json()
    assert results["total"] == len(MANY["inputs_list"])
    assert results["failed"] > 0


@pytest.mark.req("RT-1", "NFR2.1.4")
def test_a_job_whose_process_is_killed_has_failed(pool: tuple[subprocess.Popen[str], str]) -> None:
    process, url = pool
    job = httpx.post(f"{url}{PATH}/execute/batch?async=true", json=MANY, timeout=60).json()["batch_id"]
    for child in children_of(process):
        child.kill()
    told = job_of(url, job)
    assert told["status"] == "failed"
    assert "the server that ran it ended" in told["error"]
    assert httpx.get(f"{url}{PATH}/batch/{job}/results", timeout=60).status_code == 404
    ready(url)


def job_of(url: str, job: str) -> dict[str, Any]:
    """Ask until a process is there that answers."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}{PATH}/batch/{job}", timeout=60).json()


@pytest.mark.req("RT-2", "NFR2.1.4")
def test_the_rate_of_a_client_is_one_for_all_processes(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--rate", "0.001") as (process, url):
        ready(url)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(httpx.Client(base_url=url + PATH, timeout=60)) for _ in range(16)]
            statuses = [clients[n % 16].get("/programs").status_code for n in range(120)]
        assert statuses == [200] * 100 + [429] * 20
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.req("NFR2.1.4")
def test_what_a_server_that_was_killed_whole_left_behind_is_removed_by_the_next(tmp_path: Path) -> None:
    make = (
        "import os, sys; from python_bridge.transports.http.shared import Shared; "
        "sys.stdout.write(str(Shared(2, 1.0, 1).folder)); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )

    def left() -> str:
        environ = {**os.environ, "TMPDIR": str(tmp_path)}
        command = [sys.executable, "-c", make]
        return subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=False).stdout

    first = left()
    assert Path(first).is_dir()
    second = left()
    assert [str(folder) for folder in tmp_path.iterdir()] == [second]
    assert first != second
