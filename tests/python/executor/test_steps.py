"""Each step by itself, and the steps together: deadline, retry, breaker, fallback, limits, debug, batch."""

import asyncio
import threading
import time
from typing import Any

import dspy
import pytest

from python_bridge.engine.interface import CallOptions, CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.breaker import Breaker
from python_bridge.services.executor.deadline import Deadline
from python_bridge.services.executor.debug import render, tree
from python_bridge.services.executor.execution import Execution, ExecutionLimits
from python_bridge.services.executor.retry import Retry
from python_bridge.services.executor.statistics import Statistics
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

RESULT = CallResult({"answer": "x"}, None, {}, None, "m", "chat")


class Held(dspy.Module):
    """Waits in a thread that no cancellation ends."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, question: str) -> dspy.Prediction:
        if question == "wait":
            self.gate.wait(30)
        return dspy.Prediction(answer=question)


class Stubborn(dspy.Module):
    """Ignores its cancellation until the gate opens."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    async def aforward(self, question: str) -> dspy.Prediction:
        while True:
            try:
                await self.gate.passed(30)
                return dspy.Prediction(answer=question)
            except asyncio.CancelledError:
                continue


def execution(**given: Any) -> Execution:
    """An execution for steps that do not look at the target."""
    target: Any = None
    return Execution("1", target, {}, CallOptions(), **given)


def transient(**given: Any) -> BridgeError:
    return BridgeError("lm_error", "busy", retryable=True, **given)


def failing(*errors: BridgeError) -> Any:
    left = list(errors)

    async def proceed(_: Execution) -> CallResult:
        if left:
            raise left.pop(0)
        return RESULT

    return proceed


@pytest.mark.anyio
@pytest.mark.req("EX-5")
async def test_one_retry_means_a_second_attempt(waits: list[float]) -> None:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    ours = execution()
    assert await Retry(1, sleep=sleep)(ours, failing(transient())) is RESULT
    assert ours.notes["attempts"] == 2
    assert len(waits) == 1
    with pytest.raises(BridgeError, match="busy"):
        await Retry(1, sleep=sleep)(execution(), failing(transient(), transient()))


@pytest.mark.anyio
@pytest.mark.req("EX-5")
async def test_waits_grow_with_jitter_and_give_way_to_retry_after(waits: list[float]) -> None:
    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    errors = [transient(), transient(), transient(), transient(retry_after=7.5)]
    await Retry(4, base=1.0, cap=3.0, sleep=sleep)(execution(), failing(*errors))
    bounds = [(0.5, 1.0), (1.0, 2.0), (1.5, 3.0), (7.5, 7.5)]
    assert all(low <= wait <= high for wait, (low, high) in zip(waits, bounds, strict=True))


@pytest.mark.anyio
@pytest.mark.req("EX-5")
async def test_what_will_not_pass_is_not_tried_again() -> None:
    for error in (BridgeError("program_error", "429 rate limit"), BridgeError("lm_error", "no", retryable=False)):
        ours = execution()
        with pytest.raises(BridgeError):
            await Retry(3)(ours, failing(error))
        assert ours.notes["attempts"] == 1


@pytest.mark.anyio
@pytest.mark.req("EX-5")
async def test_a_wait_longer_than_the_deadline_is_not_begun() -> None:
    with pytest.raises(BridgeError, match="busy"):
        await Retry(1)(execution(timeout=5), failing(transient(retry_after=60)))


@pytest.mark.req("EX-5")
def test_an_open_breaker_lets_nothing_through_until_one_call_may_try() -> None:
    now = [0.0]
    breaker = Breaker(threshold=2, reset_after=10, clock=lambda: now[0])
    for _ in range(2):
        assert breaker.enter() is None
        breaker.leave(failed=True)
    assert (breaker.state, breaker.enter()) == ("open", 10)
    now[0] = 10
    assert breaker.state == "half_open"
    assert breaker.enter() is None
    assert breaker.enter() is not None, "one call is on trial already"
    breaker.leave(failed=True)
    assert breaker.enter() == 10
    now[0] = 20
    assert breaker.enter() is None
    breaker.leave(failed=False)
    assert breaker.state == "closed"


@pytest.mark.req("EX-5")
def test_the_breaker_really_keeps_calls_from_the_lm(make: Any) -> None:
    scripted = ScriptedLM(default=dspy.LMRateLimitError("busy"))
    executor = make(scripted.lm, max_retries=0, breaker=lambda: Breaker(threshold=3, reset_after=600))
    program = dspy.Predict("q -> a")
    kinds = [executor.execute(program, inputs={"q": str(n)}).metadata["error_kind"] for n in range(6)]
    assert kinds == ["lm_error"] * 3 + ["unavailable"] * 3
    assert len(scripted.asked) == 3


@pytest.mark.req("EX-5")
def test_a_rate_limit_is_tried_again_after_what_the_provider_says(make: Any, waits: list[float]) -> None:
    scripted = ScriptedLM([dspy.LMRateLimitError("busy", retry_after=2.5), {"a": "x"}])
    result = make(scripted.lm).execute(dspy.Predict("q -> a"), inputs={"q": "1"})
    assert (result.success, result.metadata["attempts"], waits) == (True, 2, [2.5])


@pytest.mark.req("EX-5")
def test_an_asynchronous_program_is_cancelled_at_its_deadline(make: Any) -> None:
    answer = Answer(fields={"a": "x"}, gate=Gate())
    executor = make(ScriptedLM([answer], default={"a": "y"}).lm)
    result = executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}, timeout=0.2)
    assert result.error == "Execution timeout after 0.2 seconds"
    assert result.metadata["error_kind"] == "timeout"
    assert executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}).outputs == {"a": "y"}
    assert executor.get_execution_stats()["abandoned"] == 0


@pytest.mark.req("EX-5")
def test_abandoned_threads_are_counted_and_do_not_hinder_later_calls(make: Any) -> None:
    gate = Gate()
    executor = make(ScriptedLM().lm, max_workers=2)
    program = Held(gate)
    for number in range(5):
        result = executor.execute(program, inputs={"question": "wait"}, timeout=0.1, use_cache=False)
        assert result.error == "Execution timeout after 0.1 seconds", number
    assert executor.execute(program, inputs={"question": "go"}, timeout=20).outputs == {"answer": "go"}
    assert executor.get_execution_stats()["abandoned"] == 5
    gate.open()


@pytest.mark.anyio
@pytest.mark.req("EX-5")
async def test_too_many_abandoned_executions_refuse_new_ones() -> None:
    gate = Gate()
    deadline = Deadline(max_abandoned=2)

    async def stubborn(_: Execution) -> CallResult:
        while True:
            try:
                await gate.passed(30)
                return RESULT
            except asyncio.CancelledError:
                continue

    for _ in range(2):
        with pytest.raises(BridgeError, match="Execution timeout after"):
            await deadline(execution(timeout=0.01), stubborn)
    with pytest.raises(BridgeError) as raised:
        await deadline(execution(timeout=0.01), stubborn)
    assert (raised.value.kind, deadline.abandoned) == ("overloaded", 2)
    gate.open()


@pytest.mark.req("EX-5")
def test_the_caller_of_a_stubborn_program_gets_its_answer_in_time(make: Any) -> None:
    gate = Gate()
    result = make(ScriptedLM().lm).execute(Stubborn(gate), inputs={"question": "x"}, timeout=0.1)
    assert result.error == "Execution timeout after 0.1 seconds"
    gate.open()


@pytest.mark.req("EX-5")
def test_another_lm_answers_when_the_first_one_fails(make: Any) -> None:
    broken, spare = ScriptedLM(default=dspy.LMAuthError("no key")), ScriptedLM(default={"a": "spare"})
    executor = make(lms={"default": broken.lm, "spare": spare.lm})
    result = executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}, fallback="lm:spare")
    assert result.outputs == {"a": "spare"}
    assert result.metadata["fallback"]["used"] == "lm:spare"
    assert "no key" in result.metadata["fallback"]["error"]
    again = executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}, fallback="lm:spare")
    assert again.metadata["cache"] == "miss", "a fallback's result is not kept as the first one's"


@pytest.mark.req("EX-5")
def test_another_program_answers_when_the_first_one_fails(make: Any) -> None:
    scripted = ScriptedLM([dspy.LMAuthError("no"), {"a": "other"}])
    result = make(scripted.lm).execute(
        dspy.Predict("q -> a"), inputs={"q": "1"}, fallback=[dspy.ChainOfThought("missing -> a"), dspy.Predict("q->a")]
    )
    assert result.outputs == {"a": "other"}


@pytest.mark.req("EX-5", "EX-7")
def test_an_old_result_is_given_when_the_caller_takes_it(make: Any) -> None:
    from python_bridge.services.executor.options import CacheOptions

    scripted = ScriptedLM([{"a": "old"}], default=dspy.LMAuthError("down"))
    executor = make(scripted.lm, cache=CacheOptions(ttl=0.0))
    program = dspy.Predict("q -> a")
    assert executor.execute(program, inputs={"q": "1"}).success
    assert not executor.execute(program, inputs={"q": "1"}).success
    result = executor.execute(program, inputs={"q": "1"}, fallback="stale")
    assert (result.outputs, result.metadata["cache"]) == ({"a": "old"}, "stale")


@pytest.mark.req("EX-5", "EX-6")
def test_a_partial_result_has_what_was_made_before_the_failure(make: Any) -> None:
    class Chain(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = dspy.Predict("q -> draft"), dspy.Predict("draft -> a")

        async def aforward(self, q: str) -> dspy.Prediction:
            return await self.second.acall(draft=(await self.first.acall(q=q)).draft)

    scripted = ScriptedLM([{"draft": "d"}, dspy.LMAuthError("down")])
    result = make(scripted.lm).execute(Chain(), inputs={"q": "1"}, fallback="partial")
    assert (result.outputs, result.metadata["fallback"]["used"]) == ({"draft": "d"}, "partial")


@pytest.mark.req("EX-10")
def test_lm_calls_and_tokens_are_limited(make: Any) -> None:
    class Loop(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("q -> a")

        async def aforward(self, q: str) -> dspy.Prediction:
            for _ in range(10):
                last = await self.ask.acall(q=q)
            return last

    scripted = ScriptedLM(default=Answer(fields={"a": "x"}, usage=(50, 50)))
    executor = make(scripted.lm)
    result = executor.execute(Loop(), inputs={"q": "1"}, limits=ExecutionLimits(max_lm_calls=3))
    assert (result.metadata["error_kind"], len(scripted.asked)) == ("limit_exceeded", 3)
    result = executor.execute(Loop(), inputs={"q": "1"}, limits=ExecutionLimits(max_tokens=250))
    assert (result.metadata["error_kind"], len(scripted.asked)) == ("limit_exceeded", 6)


@pytest.mark.req("EX-10")
def test_processor_time_is_limited(make: Any) -> None:
    stop = threading.Event()

    class Busy(dspy.Module):
        def forward(self, q: str) -> dspy.Prediction:
            while not stop.is_set():
                sum(range(1000))
            return dspy.Prediction(a=q)

    limits = ExecutionLimits(max_cpu_seconds=0.2)
    result = make(ScriptedLM().lm).execute(Busy(), inputs={"q": "1"}, limits=limits, timeout=60)
    stop.set()
    assert result.metadata["error_details"] == {"limit": "max_cpu_seconds"}


@pytest.mark.anyio
@pytest.mark.req("EX-10")
async def test_processor_time_on_the_loop_counts_and_that_of_others_does_not(make: Any) -> None:
    spent = Gate()

    def spend(seconds: float) -> None:
        began = time.thread_time()
        while time.thread_time() - began < seconds:
            sum(range(1000))

    class Spending(dspy.Module):
        async def aforward(self, q: str) -> dspy.Prediction:
            await asyncio.sleep(0)
            spend(float(q))
            spent.open()
            await asyncio.sleep(0)
            return dspy.Prediction(a=q)

    class Frugal(dspy.Module):
        async def aforward(self, q: str) -> dspy.Prediction:
            await spent.passed(30)
            return dspy.Prediction(a=q)

    class Wrapping(dspy.Module):
        def forward(self, q: str) -> dspy.Prediction:
            spent.wait(30)
            return dspy.Prediction(a=q)

    executor = make(ScriptedLM().lm)
    limits = ExecutionLimits(max_cpu_seconds=0.2)
    programs = [(Frugal(), "1"), (Wrapping(), "1"), (Spending(), "0.3"), (Spending(), "0.001")]
    results = await asyncio.gather(
        *(executor.aexecute(program, inputs={"q": q}, limits=limits) for program, q in programs)
    )
    assert [result.success for result in results] == [True, True, False, True]
    assert results[2].metadata["error_details"] == {"limit": "max_cpu_seconds"}


@pytest.mark.req("EX-3")
def test_debug_shows_every_step_with_prompt_completion_tokens_and_parent(make: Any) -> None:
    def look_up(word: str) -> str:
        """Look a word up."""
        return f"meaning of {word}"

    scripted = ScriptedLM(
        [
            {"next_thought": "t", "next_tool_name": "look_up", "next_tool_args": {"word": "w"}},
            {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}},
            {"reasoning": "r", "a": "done"},
        ]
    )
    executor = make(scripted.lm)
    program = dspy.ReAct("q -> a", tools=[look_up])
    result = executor.execute(program, inputs={"q": "1"}, mode="debug")
    steps = result.metadata["debug_trace"]
    kinds = [step["kind"] for step in steps]
    assert (kinds.count("lm"), kinds.count("adapter.format"), kinds.count("adapter.parse")) == (3, 3, 3)
    tool = next(step for step in steps if step["kind"] == "tool")
    assert (tool["name"], tool["inputs"], tool["outputs"]) == ("look_up", {"word": "w"}, "meaning of w")
    lm = next(step for step in steps if step["kind"] == "lm")
    assert lm["messages"][0]["role"] == "system"
    assert "look_up" in lm["completion"]
    assert lm["tokens"]["total_tokens"] > 0
    ids = {step["id"] for step in steps}
    assert [step["name"] for step in steps if step["parent"] not in ids] == ["ReAct"]
    assert all(step["duration"] >= 0 for step in steps)
    roots = tree(steps)
    assert [root["name"] for root in roots] == ["ReAct"]
    assert render(steps).splitlines()[0].startswith("module ReAct (")
    assert result.metadata["cache"] == "off"


@pytest.mark.req("EX-3")
def test_a_failed_debug_run_shows_how_far_it_came(make: Any) -> None:
    result = make(ScriptedLM([dspy.LMAuthError("no")]).lm).execute(
        dspy.Predict("q->a"), inputs={"q": "1"}, mode="debug"
    )
    assert not result.success
    assert [step["error"] is None for step in result.metadata["debug_trace"]] == [False, True, False]


@pytest.mark.req("EX-6")
def test_a_batch_is_in_order_with_an_error_for_each_item_that_fails(make: Any) -> None:
    scripted = ScriptedLM(default=lambda asked: {"a": asked.prompt.inputs["q"]})
    seen: list[tuple[int, int]] = []
    items: list[Any] = [{"q": str(number)} for number in range(20)]
    items[7] = {}
    results = make(scripted.lm).execute_batch(
        dspy.Predict("q -> a"), inputs_list=items, progress=lambda done, total, _: seen.append((done, total))
    )
    assert [result.success for result in results] == [number != 7 for number in range(20)]
    assert [result.outputs.get("a") for result in results if result.success] == [str(n) for n in range(20) if n != 7]
    assert results[7].error == "Missing required input fields: ['q']"
    assert seen == [(number, 20) for number in range(1, 21)]


@pytest.mark.req("EX-6")
def test_more_items_than_workers_all_get_their_turn_within_their_deadlines(make: Any) -> None:
    executor = make(ScriptedLM().lm, max_workers=4)
    results = executor.execute_batch(Held(Gate()), inputs_list=[{"question": str(n)} for n in range(64)], timeout=20)
    assert [result.outputs["answer"] for result in results] == [str(n) for n in range(64)]


@pytest.mark.req("EX-6")
def test_a_cancelled_batch_keeps_what_was_done(make: Any) -> None:
    cancel = threading.Event()

    def progress(done: int, total: int, result: Any) -> None:
        if done == 3:
            cancel.set()

    scripted = ScriptedLM(default={"a": "x"})
    results = make(scripted.lm).execute_batch(
        dspy.Predict("q -> a"),
        inputs_list=[{"q": str(number)} for number in range(50)],
        max_workers=1,
        progress=progress,
        cancel=cancel,
    )
    assert len(results) == 50
    assert [result.success for result in results[:3]] == [True] * 3
    assert {result.metadata["error_kind"] for result in results[5:]} == {"cancelled"}


@pytest.mark.req("EX-9")
def test_statistics_tell_counts_times_and_percentiles() -> None:
    now = [0.0]
    statistics = Statistics(clock=lambda: now[0])
    for number in range(1, 101):
        statistics.add("p", number / 100, None if number <= 90 else "timeout", 1 + (number == 1), False)
    now[0] = 10.0
    shown = statistics.show()
    assert (shown["total_executions"], shown["failed_executions"], shown["success_rate"]) == (100, 10, 0.9)
    assert [shown[f"p{share}_execution_time"] for share in (50, 95, 99)] == [0.5, 0.95, 0.99]
    assert (shown["min_execution_time"], shown["max_execution_time"]) == (0.01, 1.0)
    assert shown["average_execution_time"] == pytest.approx(0.505)
    assert (shown["throughput"], shown["retries"], shown["errors"]) == (10, 1, {"timeout": 10})
    assert shown["memory_bytes"] > 0
    statistics.reset()
    assert statistics.show()["total_executions"] == 0
