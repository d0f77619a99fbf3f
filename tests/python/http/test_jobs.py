"""Batches that run behind the request's back, and batches whose client goes away."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from python_bridge.testing import Answer, Gate
from tests.python.http.conftest import TOKEN, Server
from tests.python.http.test_api import QA

ASKED: dict[str, Any] = {"program_id": "qa", "inputs_list": [{"question": str(number)} for number in range(20)]}


def start(client: httpx.Client) -> str:
    return client.post("/execute/batch?async=true", json=ASKED).json()["batch_id"]


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    while (state := client.get(f"/batch/{job}").json())["status"] == "running":
        pass
    return state


@pytest.mark.req("RT-1", "EX-6", "OWN-1")
def test_a_cancelled_job_leaves_the_item_at_work_and_keeps_what_it_has_done(
    server: Server, client: httpx.Client
) -> None:
    never = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(Answer(fields={"answer": "first"}), *[never] * 4)
    job = start(client)
    never.reached.wait(30)
    client.post(f"/batch/{job}/cancel")
    assert ended(client, job)["status"] == "cancelled"
    results = client.get(f"/batch/{job}/results").json()
    assert (results["total"], results["successful"]) == (20, 1)
    assert client.get("/stats").json()["running"] == 0


@pytest.mark.req("RT-1", "EX-6")
def test_a_job_of_another_process_is_cancelled_through_the_history(server: Server, client: httpx.Client) -> None:
    never = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(*[never] * 4)
    job = start(client)
    never.reached.wait(30)
    server.api.history.cancel_job(job)
    assert ended(client, job)["status"] == "cancelled"


@pytest.mark.req("RT-1", "EX-6", "NFR2.1.2")
def test_a_job_that_is_at_work_when_the_server_is_shut_down_keeps_what_it_has_done(tmp_path: Path) -> None:
    first = Server(tmp_path)
    never = Answer(fields={"answer": "never"}, gate=Gate())
    first.lm.push(Answer(fields={"answer": "first"}), *[never] * 4)
    with first.client() as client:
        job = start(client)
        never.reached.wait(30)
    first.close()
    second = Server(tmp_path)
    with second.client() as client:
        state = client.get(f"/batch/{job}").json()
        results = client.get(f"/batch/{job}/results").json()
        kept = [client.get(f"/execution/{one['execution_id']}").status_code for one in results["results"]]
    second.close()
    assert (state["status"], results["successful"]) == ("cancelled", 1)
    assert "shut down" in state["error"]
    assert set(kept) == {200}


@pytest.mark.req("RT-2", "OWN-1", "EX-6")
def test_a_batch_whose_client_goes_away_is_stopped(server: Server, client: httpx.Client) -> None:
    never = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(*[never] * 4)

    def ask() -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"{server.url}/api/v1/dspy/execute/batch"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=ASKED, headers=headers, timeout=httpx.Timeout(30, read=0.5))

    asking = threading.Thread(target=ask)
    asking.start()
    never.reached.wait(30)
    asking.join(30)
    while client.get("/stats").json()["running"]:
        pass


@pytest.mark.req("RT-1", "RT-2")
@pytest.mark.parametrize(("path", "body"), [("/execute/stream", QA), ("/execute/batch?async=true", ASKED)])
def test_what_finds_no_place_is_refused_before_it_begins(tmp_path: Path, path: str, body: Any) -> None:
    server = Server(tmp_path, max_concurrency=1)
    never = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(never)
    with server.client() as client:
        asking = threading.Thread(target=lambda: client.post("/execute", json={**QA, "timeout": 60}))
        asking.start()
        never.reached.wait(30)
        with server.client() as other:
            refused = other.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
        assert never.gate is not None
        never.gate.open()
        asking.join(30)
    server.close()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
