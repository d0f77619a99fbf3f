"""The REST API over real sockets."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Match, Route

from python_bridge.testing import Answer, Gate
from python_bridge.transports.http.routes import routes
from python_bridge.transports.http.settings import hash_token
from tests.python.http.conftest import TOKEN, Server

QA = {"program_id": "qa", "inputs": {"question": "?"}}


def events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Events of a server-sent stream: name and data."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            yield name, json.loads(line[5:])


@pytest.mark.req("RT-1", "EX-2")
def test_an_execution_has_the_shape_that_is_promised(client: httpx.Client) -> None:
    response = client.post("/execute", json=QA)
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {
        "execution_id", "success", "outputs", "error", "execution_time", "program_name", "metadata"
    }  # fmt: skip
    assert body["success"] is True
    assert body["outputs"] == {"answer": "42"}
    assert body["error"] is None


@pytest.mark.req("RT-1", "EX-4")
def test_a_programs_failure_is_a_result(client: httpx.Client) -> None:
    body = client.post("/execute", json={"program_id": "qa", "inputs": {}}).json()
    assert body["success"] is False
    assert "Missing required input fields: ['question']" in body["error"]


@pytest.mark.req("RT-1")
def test_executions_are_found_again_and_survive_a_restart(tmp_path: Path) -> None:
    first = Server(tmp_path)
    with first.client() as client:
        made = client.post("/execute", json=QA).json()
        assert client.get(f"/execution/{made['execution_id']}").json() == made
    first.close()
    second = Server(tmp_path)
    with second.client() as client:
        assert client.get(f"/execution/{made['execution_id']}").json() == made
        assert client.get("/executions").json()["executions"][0]["execution_id"] == made["execution_id"]
        missing = client.get("/execution/none")
    second.close()
    assert missing.status_code == 404
    assert missing.json()["kind"] == "not_found"


@pytest.mark.req("RT-1", "EX-7")
def test_a_program_file_that_changes_is_executed_anew_under_its_id(server: Server, client: httpx.Client) -> None:
    file = Path(server.settings.programs) / "qa.json"
    assert client.post("/execute", json=QA).json()["program_name"] == "qa"
    file.write_text(json.dumps({"format": 1, "kind": "predict", "signature": "question -> reasoning", "name": "why"}))
    changed = client.post("/execute", json=QA).json()
    assert (changed["program_name"], changed["outputs"]) == ("why", {"reasoning": "easy"})
    file.unlink()
    assert client.post("/execute", json=QA).status_code == 404


@pytest.mark.req("RT-1", "EX-6")
def test_a_batch_keeps_the_order_and_the_errors_of_its_items(client: httpx.Client) -> None:
    inputs: list[dict[str, Any]] = [{"question": "a"}, {}, {"question": "c"}]
    body = client.post("/execute/batch", json={"program_id": "qa", "inputs_list": inputs}).json()
    assert (body["total"], body["successful"], body["failed"]) == (3, 2, 1)
    assert [result["success"] for result in body["results"]] == [True, False, True]


@pytest.mark.req("RT-1", "EX-6")
def test_a_batch_as_a_job_tells_its_state_and_then_its_results(server: Server, client: httpx.Client) -> None:
    gate = Gate()
    server.lm.push(Answer(fields={"answer": "slow"}, gate=gate))
    asked = {"program_id": "qa", "inputs_list": [{"question": "a"}, {"question": "b"}]}
    started = client.post("/execute/batch?async=true", json=asked)
    assert started.status_code == 202
    job = started.json()["batch_id"]
    assert client.get(f"/batch/{job}").json()["status"] == "running"
    assert client.get(f"/batch/{job}/results").status_code == 404
    gate.open()
    while client.get(f"/batch/{job}").json()["status"] == "running":
        pass
    assert client.get(f"/batch/{job}").json() == {
        "batch_id": job, "status": "finished", "total": 2, "done": 2, "failed": 0, "error": None
    }  # fmt: skip
    assert client.get(f"/batch/{job}/results").json()["successful"] == 2
    assert client.post(f"/batch/{job}/cancel").json()["status"] == "finished"
    assert client.get("/batch/none").status_code == 404


@pytest.mark.req("RT-2", "FR1.3.3")
def test_a_stream_gives_tokens_and_last_the_result(client: httpx.Client) -> None:
    with client.stream("POST", "/execute/stream", json=QA) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        told = list(events(response))
    tokens = [data for name, data in told if name == "token"]
    assert "".join(token["text"] for token in tokens) == "42"
    assert tokens[-1]["last"] is True
    assert told[-1][0] == "result"
    assert told[-1][1]["outputs"] == {"answer": "42"}


@pytest.mark.req("RT-2", "OWN-1")
def test_a_client_that_goes_away_stops_the_work(server: Server, client: httpx.Client) -> None:
    answer = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(answer)

    def ask() -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{server.url}/api/v1/dspy/execute",
                json=QA,
                headers={"authorization": f"Bearer {TOKEN}"},
                timeout=httpx.Timeout(30, read=0.5),
            )

    asking = threading.Thread(target=ask)
    asking.start()
    answer.reached.wait(30)
    asking.join(30)
    while client.get("/stats").json()["running"]:
        pass


@pytest.mark.req("RT-1")
def test_all_but_health_and_documentation_need_the_token(server: Server) -> None:
    with server.client(None) as stranger:
        for method, path in [("POST", "/execute"), ("GET", "/programs"), ("GET", "/stats"), ("GET", "/execution/x")]:
            refused = stranger.request(method, path, json=QA if method == "POST" else None)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.headers["content-type"] == "application/problem+json"
        assert stranger.get("/health").json()["status"] == "ok"
    with server.client("wrong") as stranger:
        assert stranger.get("/programs").status_code == 401
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/"):
        assert httpx.get(server.url + path).status_code == 200
    assert httpx.get(server.url + "/metrics").status_code == 401


@pytest.mark.req("RT-2", "NFR2.2.2")
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"program_id": "none", "inputs": {}}, 404, "not_found"),
        ({"program_id": "../etc/passwd", "inputs": {}}, 422, "invalid_input"),
        ({"program_id": "qa", "inputs": {}, "mode": "fast"}, 422, "invalid_input"),
        ({"program_id": "qa", "inputs": []}, 422, "invalid_input"),
        ({"program_id": "qa"}, 422, "invalid_input"),
        ({"program_id": "qa", "inputs": {}, "modes": "normal"}, 422, "invalid_input"),
        ({"program_id": "qa", "inputs": {}, "timeout": 0}, 422, "invalid_input"),
    ],
)
def test_bad_requests_are_problem_details(client: httpx.Client, body: Any, status: int, kind: str) -> None:
    response = client.post("/execute", json=body)
    assert response.status_code == status
    told = response.json()
    assert told["kind"] == kind
    assert told["status"] == status
    assert told["type"] == f"urn:dspex:error:{kind}"
    assert told["hint"]
    assert told["request_id"]


@pytest.mark.req("RT-2")
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"program_id": NaN}', b"null"])
def test_garbage_bodies_are_no_errors_of_ours(client: httpx.Client, content: bytes) -> None:
    response = client.post("/execute", content=content, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500


@pytest.mark.req("RT-2", "EX-10")
def test_a_body_above_the_limit_is_refused_with_and_without_a_length(tmp_path: Path) -> None:
    server = Server(tmp_path, max_body_bytes=1000)
    large = json.dumps({**QA, "inputs": {"question": "x" * 2000}}).encode()
    with server.client() as client:
        client.headers["content-type"] = "application/json"
        sized = client.post("/execute", content=large)
        chunked = client.post("/execute", content=iter([large[:500], large[500:]]))
        fine = client.post("/execute", json=QA)
    server.close()
    assert (sized.status_code, chunked.status_code, fine.status_code) == (413, 413, 200)


@pytest.mark.req("RT-2")
def test_more_than_the_rate_waits(tmp_path: Path) -> None:
    server = Server(tmp_path, rate=0.01, burst=2)
    with server.client() as client:
        statuses = [client.get("/programs").status_code for _ in range(3)]
        refused = client.get("/programs")
    server.close()
    assert statuses == [200, 200, 429]
    assert int(refused.headers["retry-after"]) > 1
    assert refused.json()["retryable"] is True


@pytest.mark.req("RT-2")
def test_executions_above_the_bound_are_overloaded(tmp_path: Path) -> None:
    server = Server(tmp_path, max_concurrency=1)
    answer = Answer(fields={"answer": "1"}, gate=Gate())
    server.lm.push(answer)
    with server.client() as client, server.client() as other:
        first = threading.Thread(target=lambda: client.post("/execute", json=QA))
        first.start()
        answer.reached.wait(30)
        refused = other.post("/execute", json=QA)
        answer.gate.open() if answer.gate else None
        first.join(30)
    server.close()
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"


@pytest.mark.req("RT-1")
def test_the_same_key_gives_the_same_answer_and_another_request_under_it_is_a_conflict(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.post("/execute", json=QA, headers=key)
    again = client.post("/execute", json=QA, headers=key)
    other = client.post("/execute", json={**QA, "inputs": {"question": "!"}}, headers=key)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status_code == 409
    assert other.json()["kind"] == "conflict"


@pytest.mark.req("RT-1")
def test_a_key_of_one_caller_gives_another_one_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path, token_hashes=(hash_token(TOKEN), hash_token("another-token")))
    key = {"Idempotency-Key": "k1"}
    with server.client() as client, server.client("another-token") as other:
        first = client.post("/execute", json=QA, headers=key)
        theirs = other.post("/execute", json={**QA, "inputs": {"question": "!"}}, headers=key)
    server.close()
    assert theirs.status_code == 200
    assert "idempotent-replayed" not in theirs.headers
    assert theirs.json()["execution_id"] != first.json()["execution_id"]


@pytest.mark.req("RT-1")
def test_a_job_that_is_asked_for_twice_under_one_key_is_one_job(client: httpx.Client) -> None:
    body = {"program_id": "qa", "inputs_list": [{"question": "1"}]}
    key = {"Idempotency-Key": "job-1"}
    first = client.post("/execute/batch?async=true", json=body, headers=key)
    again = client.post("/execute/batch?async=true", json=body, headers=key)
    same = client.post("/execute/batch", json=body, headers=key)
    assert (first.status_code, again.status_code, same.status_code) == (202, 202, 409)
    assert again.json()["batch_id"] == first.json()["batch_id"]


@pytest.mark.req("RT-2")
def test_problems_carry_the_details_of_their_error(client: httpx.Client) -> None:
    told = client.post("/execute", json={"program_id": "none", "inputs": {}}).json()
    assert told["details"] == {"program_id": "none"}


@pytest.mark.req("RT-1", "EX-7")
def test_programs_statistics_and_the_cache_are_told_and_cleared(client: httpx.Client) -> None:
    views = client.get("/programs").json()["programs"]
    assert views[0] == {
        "program_id": "qa", "kind": "predict", "signature": "question -> answer",
        "inputs": ["question"], "outputs": ["answer"],
    }  # fmt: skip
    assert [client.post("/execute", json=QA).json()["metadata"]["cache"] for _ in range(2)] == ["miss", "hit"]
    assert client.get("/stats").json()["successful_executions"] == 2
    assert client.post("/cache/clear", json={"program_id": "qa"}).json() == {"cleared": 1}
    assert client.post("/cache/clear", json={}).json() == {"cleared": 0}


@pytest.mark.req("RT-2", "EX-9")
def test_metrics_speak_prometheus_and_ids_of_requests_are_kept(server: Server, client: httpx.Client) -> None:
    client.post("/execute", json=QA)
    metrics = httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    families = {family.name: family for family in text_string_to_metric_families(metrics)}
    assert {"dspex_executor_executions", "dspex_executor_execution_seconds", "dspex_http_running"} <= set(families)
    samples = {tuple(sample.labels.values()): sample.value for sample in families["dspex_executor_executions"].samples}
    assert samples == {("success",): 1, ("failure",): 0}
    assert client.get("/programs", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/programs", headers={"x-request-id": "bad id"}).headers["x-request-id"] != "bad id"


@pytest.mark.req("RT-1", "EX-5")
def test_the_timeout_of_a_request_stops_its_work(server: Server, client: httpx.Client) -> None:
    server.lm.push(Answer(fields={"answer": "never"}, gate=Gate()))
    body = client.post("/execute", json={**QA, "timeout": 0.2}).json()
    assert body["success"] is False
    assert "Execution timeout after 0.2 seconds" in body["error"]
    assert client.post("/execute", json={**QA, "mode": "dry_run"}).json()["success"] is True


def test_no_route_stands_in_the_shadow_of_another_one(server: Server) -> None:
    found = [route for route in routes(server.api).routes if isinstance(route, Route)]
    plain = [route for route in found if "{" not in route.path]
    assert len(plain) > 5
    for route in plain:
        for method in route.methods or ():
            scope = {"type": "http", "method": method, "path": route.path, "root_path": "", "headers": []}
            assert next(other for other in found if other.matches(scope)[0] is Match.FULL) is route


@pytest.mark.req("RT-2")
def test_the_document_tells_what_needs_a_token(server: Server, tmp_path: Path) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    assert "security" not in paths["/api/v1/dspy/health"]["get"]
    assert paths["/api/v1/dspy/execute"]["post"]["security"] == [{"bearer": []}]
    free = Server(tmp_path, token_hashes=())
    document = httpx.get(f"{free.url}/openapi.json").text
    free.close()
    assert "security" not in document


@pytest.mark.req("RT-1", "BC4")
@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/readyz"])
def test_balancers_may_ask_with_head(server: Server, path: str) -> None:
    answer = httpx.head(server.url + path)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.req("RT-2")
def test_a_path_with_a_slash_too_many_is_not_found(client: httpx.Client) -> None:
    answer = client.post("/execute/", json=QA)
    assert (answer.status_code, answer.json()["kind"]) == (404, "not_found")
