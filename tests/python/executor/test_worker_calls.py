"""The calls of a worker go the way of the executor: its options, its cache, its tracker."""

import json
import time
from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.errors import BridgeError
from python_bridge.services.executor.calls import CallExecutor, read_execution
from python_bridge.settings import Settings
from python_bridge.testing import Answer, Gate, ScriptedLM
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR1.3.1")]

QA = {"format": 1, "kind": "predict", "signature": "question -> answer"}
BUSY = dspy.LMRateLimitError("slow down", status=429, retry_after=0)
KEPT = Settings(result_cache_bytes=1 << 20)


def ask(question: str = "where?", /, **execution: Any) -> dict[str, Any]:
    options = {"options": {"execution": execution}} if execution else {}
    return {"program": QA, "inputs": {"question": question}, **options}


def wait_past(moment: float) -> None:
    while time.time() < moment:
        time.sleep(0.001)


async def failure(asking: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await asking
    return caught.value


@pytest.mark.req("EX-7")
async def test_equal_calls_are_answered_from_the_cache_which_tenants_do_not_share() -> None:
    script = ScriptedLM([{"answer": "one"}, {"answer": "two"}, {"answer": "three"}])
    async with memory_worker(KEPT, lms={"default": script.lm}) as client:
        answers = [await client.request("call", ask(), tenant=tenant) for tenant in ("a", "a", "b")]
        again = await client.request("call", ask(cache=False), tenant="a")
        status = await client.request("worker/status", {})
    assert [answer["outputs"]["answer"] for answer in answers] == ["one", "one", "two"]
    assert [answer["meta"]["cache"] for answer in answers] == ["miss", "hit", "miss"]
    assert (again["outputs"]["answer"], again["meta"]["cache"]) == ("three", "off")
    assert status["executions"]["cache"]["hits"] == 1


async def test_without_the_setting_nothing_is_kept() -> None:
    script = ScriptedLM([{"answer": "one"}, {"answer": "two"}])
    async with memory_worker(lms={"default": script.lm}) as client:
        answers = [await client.request("call", ask()) for _ in range(2)]
    assert [answer["meta"]["cache"] for answer in answers] == ["off", "off"]
    assert "attempts" not in answers[0]["meta"]


@pytest.mark.req("FR2.2.4", "EX-7")
async def test_a_call_that_streams_is_never_answered_from_the_cache() -> None:
    script = ScriptedLM([{"answer": "one"}, {"answer": "two words"}])
    async with memory_worker(KEPT, lms={"default": script.lm}) as client:
        await client.request("call", ask())
        stream = client.stream("call", ask())
        tokens = [event async for event in stream if event["type"] == "token"]
    assert "".join(token["text"] for token in tokens) == "two words"


async def test_answers_that_tools_of_the_client_had_a_part_in_are_not_kept() -> None:
    executor = CallExecutor(KEPT, lambda _: program)
    program = ScriptedEngine().compile({"kind": "scripted"})
    asked: list[str] = []

    async def call_tool(tool: str, arguments: dict[str, Any], call_id: str, timeout_s: float | None) -> str:
        asked.append(tool)
        return "done"

    context = CallContext("r", call_tool=call_tool)
    for _ in range(2):
        await executor.run(program, {"script": [{"tool": "clock"}]}, CallOptions(), context)
    assert asked == ["clock", "clock"]


@pytest.mark.req("EX-5", "NFR2.1.2")
async def test_a_failure_that_may_pass_is_tried_again_when_the_call_says_so() -> None:
    script = ScriptedLM([BUSY, {"answer": "Paris"}, BUSY])
    async with memory_worker(lms={"default": script.lm}) as client:
        answer = await client.request("call", ask(retries=2))
        error = await failure(client.request("call", ask()))
    assert (answer["outputs"]["answer"], answer["meta"]["attempts"]) == ("Paris", 2)
    assert error.kind == "lm_error"


@pytest.mark.req("EX-5", "NFR2.2.3")
async def test_another_lm_answers_where_the_call_names_one() -> None:
    first, second = ScriptedLM([BUSY, BUSY]), ScriptedLM([{"answer": "Paris"}])
    async with memory_worker(lms={"default": first.lm, "small": second.lm}) as client:
        answer = await client.request("call", ask(fallback=["lm:small"]))
        error = await failure(client.request("call", ask(fallback=["lm:none"])))
    assert answer["outputs"]["answer"] == "Paris"
    assert answer["meta"]["fallback"]["used"] == "lm:small"
    assert error.kind == "lm_error"


@pytest.mark.req("EX-5")
async def test_another_program_of_the_worker_answers_in_its_place() -> None:
    script = ScriptedLM([BUSY, {"reasoning": "it is so", "answer": "Paris"}])
    async with memory_worker(lms={"default": script.lm}) as client:
        other = (await client.request("program.put", {"program": {**QA, "kind": "chain_of_thought"}}))["module"]
        answer = await client.request("call", ask(fallback=[other]))
    assert answer["outputs"] == {"reasoning": "it is so", "answer": "Paris"}


@pytest.mark.req("EX-10")
async def test_a_call_spends_no_more_than_its_limits_say() -> None:
    script = ScriptedLM([{"answer": "Paris"}])
    async with memory_worker(lms={"default": script.lm}) as client:
        error = await failure(client.request("call", ask(limits={"max_lm_calls": 0})))
    assert (error.kind, error.details["limit"]) == ("limit_exceeded", "max_lm_calls")
    assert not script.asked


@pytest.mark.req("EX-3", "NFR4.2.4")
async def test_a_debug_trace_comes_with_the_answer() -> None:
    script = ScriptedLM([{"answer": "Paris"}])
    async with memory_worker(KEPT, lms={"default": script.lm}) as client:
        answer = await client.request("call", ask(debug=True))
    trace = answer["meta"]["debug_trace"]
    assert {step["kind"] for step in trace} >= {"module", "adapter.format", "lm", "adapter.parse"}
    assert "Paris" in next(step["completion"] for step in trace if step["kind"] == "lm")
    assert answer["meta"]["cache"] == "off"


@pytest.mark.req("EX-5")
async def test_a_timeout_of_its_own_stops_the_program_and_lets_the_kept_answer_serve() -> None:
    gate = Gate()
    late = [Answer({"answer": "late"}, gate=gate)] * 2
    script = ScriptedLM([{"answer": "old"}, *late])
    settings = Settings(result_cache_bytes=1 << 20, result_cache_ttl_ms=1)
    async with memory_worker(settings, lms={"default": script.lm}) as client:
        await client.request("call", ask())
        wait_past(time.time() + 0.002)
        answer = await client.request("call", ask(timeout_ms=50, fallback=["stale"]))
        error = await failure(client.request("call", ask("other", timeout_ms=50)))
    assert (answer["outputs"]["answer"], answer["meta"]["cache"]) == ("old", "stale")
    assert (error.kind, error.message) == ("timeout", "Execution timeout after 0.05 seconds")


@pytest.mark.req("NFR2.1.3")
async def test_the_breaker_of_an_lm_opens_and_nothing_is_sent() -> None:
    script = ScriptedLM([BUSY, BUSY])
    async with memory_worker(Settings(lm_breaker_failures=2), lms={"default": script.lm}) as client:
        kinds = [(await failure(client.request("call", ask()))).kind for _ in range(3)]
    assert kinds == ["lm_error", "lm_error", "unavailable"]
    assert len(script.asked) == 2


@pytest.mark.req("FR2.3.1")
async def test_calls_within_sessions_go_the_same_way(tmp_path: Any) -> None:
    script = ScriptedLM([BUSY, {"answer": "Paris"}])
    settings = Settings(store=f"sqlite:///{tmp_path}/x.db")
    async with memory_worker(settings, lms={"default": script.lm}) as client:
        await client.request("session.open", {"session": "s"})
        answer = await client.request("call", ask(retries=1), session="s")
    assert (answer["outputs"]["answer"], answer["meta"]["attempts"]) == ("Paris", 2)


@pytest.mark.req("NFR2.2.4", "FR2.1.4")
async def test_the_status_tells_what_was_executed_and_what_failed_how() -> None:
    script = ScriptedLM([{"answer": "Paris"}, BUSY])
    async with memory_worker(lms={"default": script.lm}) as client:
        await client.request("call", ask())
        await failure(client.request("call", ask()))
        await failure(client.request("call", {"program": QA, "inputs": {}}))
        executions = (await client.request("worker/status", {}))["executions"]
    assert (executions["total"], executions["failed"]) == (3, 2)
    assert executions["errors"] == {"lm_error": 1, "invalid_input": 1}
    assert executions["p50_ms"] >= 0


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "execution.json").read_text("utf-8"))


@pytest.mark.parametrize("row", VECTORS["valid"], ids=lambda row: row["name"])
def test_right_options_are_read(row: dict[str, Any]) -> None:
    assert read_execution(row["execution"], "call")


@pytest.mark.parametrize("row", VECTORS["invalid"], ids=lambda row: row["name"])
@pytest.mark.req("NFR2.2.2")
async def test_wrong_options_are_named_before_anything_runs(row: dict[str, Any]) -> None:
    script = ScriptedLM([])
    async with memory_worker(lms={"default": script.lm}) as client:
        error = await failure(client.request("call", ask(**row["execution"])))
    assert error.kind == "invalid_request"
    assert row["words"] in error.message


def test_no_more_than_eight_fallbacks_are_taken() -> None:
    with pytest.raises(BridgeError, match="8 are the most"):
        read_execution({"fallback": ["stale"] * 9}, "call")


@pytest.mark.req("EX-8")
async def test_a_tracker_hears_of_every_call_that_does_not_opt_out() -> None:
    tracker = Listening()
    executor = CallExecutor(Settings(), lambda _: program, tracker)
    program = ScriptedEngine().compile({"kind": "scripted"})
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    context = CallContext("w-1", session="s", traceparent=traceparent)
    await executor.run(program, {"script": [{"answer": 1}]}, CallOptions(), context)
    await failure(executor.run(program, {"script": [{"raise": "lm_error"}]}, CallOptions(), context))
    executor.close()
    assert [(event["success"], event["error"]) for event in tracker.events] == [(True, None), (False, "as scripted")]
    labels = {"session_id": "s", "request_id": "w-1", "trace_id": "ab" * 16}
    assert tracker.events[0]["labels"] == labels
    assert tracker.closed


class Listening:
    """A tracker that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.closed = False

    def wants_steps(self) -> bool:
        return False

    def record(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def stats(self) -> dict[str, Any]:
        return {}

    def flush(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
