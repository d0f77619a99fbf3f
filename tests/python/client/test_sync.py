"""The client for threads, against a running server."""

import json
import threading
from pathlib import Path

import pytest

from python_bridge.client import BridgeError, Client, ExecutionResult, StreamEvent
from python_bridge.services.executor.model import ExecutionMode
from python_bridge.services.executor.model import ExecutionResult as ExecutorsResult
from python_bridge.testing import Answer, Gate
from tests.python.http.conftest import TOKEN, Server

INPUTS = {"question": "?"}
pytestmark = pytest.mark.req("EX-13")


def test_an_execution_gives_the_fields_of_the_executors_result_and_its_id(client: Client) -> None:
    result = client.execute("qa", INPUTS)
    assert (result.success, result.outputs, result.error) == (True, {"answer": "42"}, None)
    assert result.execution_id == result.metadata["execution_id"]
    assert result.execution_time > 0
    assert set(result.to_dict()) == {*ExecutorsResult(success=True).to_dict(), "execution_id"}
    assert json.loads(result.to_json()) == result.to_dict()
    assert client.execution(result.execution_id) == result


def test_a_programs_failure_is_a_result(client: Client) -> None:
    result = client.execute("qa", {})
    assert result.success is False
    assert "Missing required input fields: ['question']" in str(result.error)


def test_the_options_of_an_execution_reach_the_program(server: Server, client: Client) -> None:
    assert client.execute("qa", INPUTS, mode=ExecutionMode.DRY_RUN).metadata["mode"] == "dry_run"
    assert client.execute("qa", INPUTS, mode="debug", session_id="s").metadata["debug_trace"]
    server.lm.push(Answer(fields={"answer": "never"}, gate=Gate()))
    late = client.execute("qa", {"question": "late"}, timeout=0.2)
    assert (late.success, late.metadata["error_kind"]) == (False, "timeout")


def test_an_idempotency_key_gives_the_first_answer_again_and_conflicts_with_another_request(client: Client) -> None:
    first = client.execute("qa", INPUTS, idempotency_key="k-1")
    assert client.execute("qa", INPUTS, idempotency_key="k-1") == first
    with pytest.raises(BridgeError) as caught:
        client.execute("qa", {"question": "other"}, idempotency_key="k-1")
    assert (caught.value.kind, caught.value.retryable) == ("conflict", False)
    assert client.execute("qa", INPUTS).execution_id != first.execution_id


def test_a_batch_keeps_the_order_and_the_errors_of_its_items(client: Client) -> None:
    results = client.execute_batch("qa", [{"question": "a"}, {}, {"question": "c"}], timeout=30)
    assert [result.success for result in results] == [True, False, True]


def test_a_batch_as_a_job_is_waited_for_and_then_has_results(server: Server, client: Client) -> None:
    gate = Gate()
    server.lm.push(Answer(fields={"answer": "slow"}, gate=gate))
    job = client.submit_batch("qa", ({"question": name} for name in "ab"))
    assert job.status().status == "running"
    with pytest.raises(BridgeError) as caught:
        job.wait(0.01)
    assert caught.value.kind == "timeout"
    with pytest.raises(BridgeError) as caught:
        job.results()
    assert caught.value.kind == "not_found"
    gate.open()
    state = client.job(job.id).wait(30, poll=0.02)
    assert (state.status, state.total, state.done, state.failed) == ("finished", 2, 2, 0)
    assert sorted(result.outputs["answer"] for result in job.results()) == ["42", "slow"]


def test_a_cancelled_job_ends_and_keeps_what_it_has_done(server: Server, client: Client) -> None:
    first = Answer(fields={"answer": "first"}, gate=Gate())
    server.lm.push(first)
    job = client.submit_batch("qa", [{"question": str(number)} for number in range(50)])
    first.reached.wait(30)
    job.cancel()
    assert first.gate is not None
    first.gate.open()
    assert job.wait(30, poll=0.02).ended
    assert len(job.results()) == 50


def test_a_stream_gives_events_and_last_the_result(client: Client) -> None:
    *events, result = client.stream("qa", INPUTS, timeout=30)
    assert all(isinstance(event, StreamEvent) for event in events)
    assert "".join(event.text for event in events if isinstance(event, StreamEvent)) == "42"
    assert isinstance(result, ExecutionResult)
    assert result.outputs == {"answer": "42"}
    assert client.execution(result.execution_id).outputs == {"answer": "42"}


def test_a_stream_that_is_closed_stops_the_work(server: Server, client: Client) -> None:
    stopped = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(stopped)

    def read() -> None:
        with pytest.raises(BridgeError):
            list(impatient.stream("qa", INPUTS))

    with Client(server.url, TOKEN, timeout=0.5) as impatient:
        reading = threading.Thread(target=read)
        reading.start()
        stopped.reached.wait(30)
        reading.join(30)
    while client.stats()["running"]:
        pass


def test_a_stream_of_an_unknown_program_raises_before_the_first_event(client: Client) -> None:
    with pytest.raises(BridgeError) as caught:
        next(client.stream("none", INPUTS))
    assert caught.value.kind == "not_found"


def test_programs_statistics_cache_and_health_are_told(client: Client) -> None:
    assert [program["program_id"] for program in client.programs()] == ["qa", "typed"]
    client.execute("qa", INPUTS)
    assert client.execute("qa", INPUTS).metadata["cache"] == "hit"
    assert client.clear_cache("qa") == 1
    assert client.clear_cache() == 0
    assert client.stats()["running"] == 0
    assert client.health()["status"] == "ok"


def test_a_problem_carries_its_kind_its_hint_and_what_is_wrong(server: Server, client: Client) -> None:
    with pytest.raises(BridgeError) as caught:
        client.execute("qa", INPUTS, mode="fast")
    error = caught.value
    assert (error.kind, error.retryable, error.details["status"]) == ("invalid_input", False, 422)
    assert error.details["problems"][0]["path"] == ["body", "mode"]
    assert error.details["request_id"]
    with Client(server.url, "wrong") as stranger, pytest.raises(BridgeError) as caught:
        stranger.programs()
    assert caught.value.kind == "unauthorized"
    assert "wrong" not in repr(stranger)


def test_names_are_quoted_in_addresses(client: Client) -> None:
    with pytest.raises(BridgeError) as caught:
        client.execution("../stats")
    assert caught.value.kind in ("not_found", "protocol_error")


@pytest.mark.parametrize("value", [object(), 1j, "\ud800"])
def test_inputs_that_are_no_data_are_refused_before_they_are_sent(client: Client, value: object) -> None:
    with pytest.raises(BridgeError) as caught:
        client.execute("qa", {"question": value})
    assert caught.value.kind == "invalid_input"


def test_a_client_above_the_rate_waits_and_is_then_served(tmp_path: Path) -> None:
    server = Server(tmp_path, rate=2.0, burst=1)
    with Client(server.url, TOKEN, retries=5) as client:
        assert [client.execute("qa", INPUTS).success for _ in range(2)] == [True, True]
    server.close()


def test_a_full_server_is_asked_again_until_it_has_a_place(tmp_path: Path) -> None:
    server = Server(tmp_path, max_concurrency=1)
    held = Answer(fields={"answer": "1"}, gate=Gate())
    server.lm.push(held)
    with Client(server.url, TOKEN, retries=0) as impatient, Client(server.url, TOKEN, retries=30) as patient:
        first = threading.Thread(target=lambda: impatient.execute("qa", INPUTS))
        first.start()
        held.reached.wait(30)
        with pytest.raises(BridgeError) as caught:
            impatient.execute("qa", {"question": "second"})
        threading.Timer(0.1, held.gate.open if held.gate else print).start()
        assert patient.execute("qa", {"question": "third"}).success
        first.join(30)
    server.close()
    assert (caught.value.kind, caught.value.retry_after, caught.value.retryable) == ("overloaded", 1.0, True)
