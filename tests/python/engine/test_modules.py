"""Kinds of programs beyond one predictor."""

import asyncio
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.engine.modules.registry import KINDS
from python_bridge.engine.sandbox import has_deno
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

Make = Callable[..., DSPyEngine]
QA = {"format": 1, "kind": "predict", "signature": "question -> answer"}
RATE = [{"name": "rate", "desc": "Rates an answer"}]
HERE = "tests.python.engine.custom_modules"


def refused(engine: DSPyEngine, program: dict[str, Any]) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        engine.compile({"format": 1, **program})
    return caught.value


async def rating(tool: str, arguments: dict[str, Any], _call_id: str, _timeout: float | None) -> Any:
    """Rate by the number that the answer is."""
    assert tool == "rate"
    return float(arguments["outputs"]["answer"])


# chain


@pytest.mark.anyio
@pytest.mark.req("FR1.1.3")
async def test_outputs_of_a_step_feed_the_inputs_of_later_ones_by_name(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([{"topic": "tea"}, {"reasoning": "hm", "title": "On tea", "words": 2}])
    steps = [
        {"format": 1, "kind": "predict", "signature": "text -> topic"},
        {"format": 1, "kind": "chain_of_thought", "signature": "text, topic, tone -> title, words: int"},
    ]
    engine = make_engine(scripted.lm)
    result = await call(engine, {"kind": "chain", "steps": steps}, {"text": "Tea is fine.", "tone": "calm"})
    assert result.outputs == {"topic": "tea", "reasoning": "hm", "title": "On tea", "words": 2}
    assert result.usage["lm_calls"] == 2
    assert "tea" in scripted.asked[1].messages[-1][1]
    described = engine.compile({"format": 1, "kind": "chain", "steps": steps}).describe()
    assert [field["name"] for field in described["inputs"]] == ["text", "tone"]
    assert [predictor["name"] for predictor in described["predictors"]] == ["steps[0]", "steps[1].predict"]


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3")
async def test_a_chain_streams_each_step_under_its_predictor_s_name(make_engine: Make, call: Any) -> None:
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    steps = [{**QA}, {**QA, "signature": "answer -> verdict"}]
    scripted = ScriptedLM([{"answer": "yes"}, {"verdict": "fine"}])
    await call(make_engine(scripted.lm), {"kind": "chain", "steps": steps}, {"question": "?"}, emit=emit)
    assert [(event["predictor"], event["field"]) for event in events if event["last"]] == [
        ("steps[0]", "answer"),
        ("steps[1]", "verdict"),
    ]


@pytest.mark.anyio
async def test_a_step_that_gets_what_does_not_fit_is_named(make_engine: Make, call: Any) -> None:
    steps = [{**QA}, {**QA, "signature": "answer: int -> verdict"}]
    scripted = ScriptedLM([{"answer": "many"}])
    with pytest.raises(BridgeError, match=r"steps\.1") as caught:
        await call(make_engine(scripted.lm), {"kind": "chain", "steps": steps}, {"question": "?"})
    assert caught.value.kind == "invalid_input"


@pytest.mark.anyio
@pytest.mark.req("FR1.1.2")
async def test_steps_have_lms_and_parameters_of_their_own(make_engine: Make, call: Any) -> None:
    one, other = ScriptedLM([{"answer": "a"}]), ScriptedLM([{"verdict": "b"}], model="scripted/other")
    steps = [
        {**QA, "config": {"temperature": 0.1}},
        {**QA, "signature": "answer -> verdict", "lm": {"name": "other", "params": {"max_tokens": 7}}},
    ]
    engine = make_engine(one.lm, lms={"other": other.lm})
    result = await call(engine, {"kind": "chain", "steps": steps}, {"question": "?"})
    assert one.asked[0].request.config.temperature == 0.1
    assert other.asked[0].request.config.max_tokens == 7
    assert set(result.usage["by_model"]) == {"scripted/lm", "scripted/other"}


@pytest.mark.parametrize(
    ("program", "part"),
    [
        ({"kind": "chain", "steps": []}, "at least one step"),
        ({"kind": "chain", "steps": [QA, {**QA, "signature": "answer -> question"}]}, "`question` is an input"),
        ({"kind": "chain", "steps": [{**QA, "adapter": "json"}]}, "outermost"),
        ({"kind": "parallel"}, "`children.program`"),
        ({"kind": "best_of_n", "children": {"program": QA}}, "config.reward"),
        ({"kind": "knn", "signature": "question -> answer"}, "examples in `demos`"),
        ({"kind": "custom"}, "needs `import`"),
        ({"kind": "predict"}, "needs a `signature`"),
    ],
)
def test_wrong_compositions_are_named(make_engine: Make, program: Any, part: str) -> None:
    assert part in refused(make_engine(), program).message


def test_programs_cannot_be_nested_for_ever(make_engine: Make) -> None:
    program: dict[str, Any] = QA
    for _ in range(20):
        program = {"format": 1, "kind": "chain", "steps": [program]}
    assert refused(make_engine(), program).kind == "limit_exceeded"


def test_one_program_is_made_of_a_bounded_number_of_others(make_engine: Make) -> None:
    steps = {"format": 1, "kind": "chain", "steps": [QA] * 15}
    make_engine().compile({**steps, "steps": [steps] * 15})
    error = refused(make_engine(), {**steps, "steps": [steps] * 16})
    assert (error.kind, "257 programs" in error.message) == ("limit_exceeded", True)


# parallel


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "NFR1.2.2")
async def test_parallel_runs_one_program_over_many_inputs_at_once_in_order(make_engine: Make, call: Any) -> None:
    gate, answers = Gate(), [Gate() for _ in range(4)]

    def script(asked: Any) -> Any:
        number = int(asked.prompt.inputs["question"])
        answers[number].open()
        if number == 2:
            return lm15.AuthError("no", provider="x", status=401)
        return Answer(fields={"answer": f"a{number}"}, gate=gate)

    program = {"kind": "parallel", "children": {"program": QA}, "config": {"num_threads": 4}}
    items = [{"question": str(number)} for number in range(4)]
    running = asyncio.ensure_future(call(make_engine(ScriptedLM(default=script).lm), program, {"items": items}))
    for reached in answers:
        await reached.passed()
    gate.open()
    result = await running
    assert result.outputs["results"] == [{"answer": "a0"}, {"answer": "a1"}, None, {"answer": "a3"}]
    (error,) = result.outputs["errors"]
    assert (error["index"], error["data"]["kind"]) == (2, "lm_error")


@pytest.mark.anyio
async def test_parallel_checks_every_item_and_stops_after_too_many_errors(make_engine: Make, call: Any) -> None:
    failing = ScriptedLM(default=lm15.AuthError("no", provider="x", status=401))
    program = {"kind": "parallel", "children": {"program": QA}, "config": {"max_errors": 1, "num_threads": 1}}
    with pytest.raises(BridgeError, match="is missing"):
        await call(make_engine(failing.lm), program, {"items": [{"question": "?"}, {}]})
    with pytest.raises(BridgeError) as caught:
        await call(make_engine(failing.lm), program, {"items": [{"question": "?"}] * 5})
    assert (caught.value.kind, len(failing.asked)) == ("lm_error", 2)


# best_of_n, refine, multi_chain_comparison


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-6")
async def test_best_of_n_takes_the_answer_that_the_client_rates_best(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([{"answer": "1"}, {"answer": "3"}, {"answer": "2"}])
    config = {"N": 3, "threshold": 9.0, "reward": "rate"}
    program = {"kind": "best_of_n", "children": {"program": QA}, "tools": RATE, "config": config}
    result = await call(make_engine(scripted.lm), program, {"question": "?"}, call_tool=rating)
    assert result.outputs == {"answer": "3"}
    assert [asked.request.config.temperature for asked in scripted.asked] == [1.0] * 3


@pytest.mark.anyio
async def test_best_of_n_stops_when_it_is_good_enough_and_survives_failures(make_engine: Make, call: Any) -> None:
    broken = lm15.AuthError("no", provider="x", status=401)
    scripted = ScriptedLM([broken, {"answer": "5"}, {"answer": "9"}])
    config = {"N": 3, "threshold": 5, "reward": "rate"}
    program = {"kind": "best_of_n", "children": {"program": QA}, "tools": RATE, "config": config}
    engine = make_engine(scripted.lm)
    assert (await call(engine, program, {"question": "?"}, call_tool=rating)).outputs == {"answer": "5"}
    assert scripted.left == 1
    failing = ScriptedLM(default=broken)
    for _ in range(2):  # failures of one call do not count in the next
        with pytest.raises(BridgeError, match="401"):
            await call(make_engine(failing.lm), program, {"question": "?"}, call_tool=rating)
    assert len(failing.asked) == 6


@pytest.mark.anyio
async def test_a_reward_that_is_no_number_is_a_tool_error(make_engine: Make, call: Any) -> None:
    async def words(*_: Any) -> Any:
        return "good"

    config = {"N": 1, "reward": "rate"}
    program = {"kind": "best_of_n", "children": {"program": QA}, "tools": RATE, "config": config}
    with pytest.raises(BridgeError, match="must give a number") as caught:
        await call(make_engine(ScriptedLM([{"answer": "1"}]).lm), program, {"question": "?"}, call_tool=words)
    assert caught.value.kind == "tool_error"


@pytest.mark.anyio
async def test_what_is_thrown_away_does_not_stream(make_engine: Make, call: Any) -> None:
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    scripted = ScriptedLM([{"answer": "1"}, {"answer": "7"}])
    config = {"N": 2, "threshold": 5, "reward": "rate"}
    program = {"kind": "best_of_n", "children": {"program": QA}, "tools": RATE, "config": config}
    await call(make_engine(scripted.lm), program, {"question": "?"}, call_tool=rating, emit=emit)
    assert [event["text"] for event in events if event["type"] == "token"] == ["7"]


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-6")
async def test_refine_tries_again_with_the_lm_s_advice(make_engine: Make, call: Any) -> None:
    advice = {"discussion": "too small", "advice": {"self": "Say a larger number."}}
    scripted = ScriptedLM([{"answer": "1"}, advice, {"answer": "8"}])
    config = {"N": 2, "threshold": 5, "reward": "rate"}
    program = {"kind": "refine", "children": {"program": QA}, "tools": RATE, "config": config}
    result = await call(make_engine(scripted.lm), program, {"question": "?"}, call_tool=rating)
    assert result.outputs == {"answer": "8"}
    assert "Say a larger number." in scripted.asked[2].messages[-1][1]


@pytest.mark.anyio
@pytest.mark.req("NFR5.1.3")
async def test_failures_that_refine_survived_do_not_count_in_the_next_call(make_engine: Make, call: Any) -> None:
    broken = lm15.AuthError("no", provider="x", status=401)
    scripted = ScriptedLM([broken, {"answer": "8"}] * 4)
    config = {"N": 2, "threshold": 5, "reward": "rate", "fail_count": 1}
    program = {"kind": "refine", "children": {"program": QA}, "tools": RATE, "config": config}
    engine = make_engine(scripted.lm)
    compiled = engine.compile({"format": 1, **program})
    for number in range(4):
        context = CallContext(str(number), call_tool=rating)
        assert (await compiled.call({"question": "?"}, CallOptions(), context)).outputs == {"answer": "8"}


@pytest.mark.anyio
@pytest.mark.req("OWN-4")
@pytest.mark.parametrize("kind", ["best_of_n", "refine"])
async def test_one_program_at_work_for_many_keeps_their_lms_apart(make_engine: Make, kind: str) -> None:
    gate = Gate()
    first = [Answer(fields={"answer": str(index)}, gate=gate) for index in range(6)]
    lms = {f"lm{index}": ScriptedLM([answer, {"answer": "-1"}]) for index, answer in enumerate(first)}
    engine = make_engine(lms={name: scripted.lm for name, scripted in lms.items()})
    config = {"N": 2, "threshold": 0, "reward": "rate"}
    program = engine.compile({"format": 1, "kind": kind, "children": {"program": QA}, "tools": RATE, "config": config})
    calls = [
        asyncio.ensure_future(
            program.call({"question": "?"}, CallOptions(lm=name), CallContext(name, call_tool=rating))
        )
        for name in lms
    ]
    for answer in first:
        await answer.reached.passed()
    gate.open()
    answers = [result.outputs["answer"] for result in await asyncio.gather(*calls)]
    assert answers == [str(index) for index in range(6)]


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1")
async def test_multi_chain_comparison_compares_given_attempts(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([{"rationale": "both", "answer": "4"}])
    program = {"kind": "multi_chain_comparison", "signature": "question -> answer", "config": {"M": 2}}
    attempts = [{"reasoning": "add", "answer": "4"}, {"reasoning": "guess", "answer": "5"}]
    engine = make_engine(scripted.lm)
    result = await call(engine, program, {"question": "2+2", "completions": attempts})
    assert result.outputs == {"rationale": "both", "answer": "4"}
    assert "I'm trying to guess" in scripted.asked[0].messages[-1][1]
    with pytest.raises(BridgeError, match="must have 2 items"):
        await call(engine, program, {"question": "2+2", "completions": attempts[:1]})
    with pytest.raises(BridgeError, match=r"completions\.1"):
        await call(engine, program, {"question": "2+2", "completions": [attempts[0], {"answer": "5"}]})


@pytest.mark.anyio
async def test_multi_chain_comparison_makes_its_own_attempts_with_a_child(make_engine: Make, call: Any) -> None:
    tries = [{"reasoning": f"way {number}", "answer": str(number)} for number in (4, 5)]
    scripted = ScriptedLM([*tries, {"rationale": "both", "answer": "4"}])
    program = {
        "kind": "multi_chain_comparison", "signature": "question -> answer", "config": {"M": 2},
        "children": {"program": {**QA, "kind": "chain_of_thought"}},
    }  # fmt: skip
    assert (await call(make_engine(scripted.lm), program, {"question": "2+2"})).outputs["answer"] == "4"


# knn


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-11")
async def test_knn_finds_the_nearest_examples(make_engine: Make, call: Any) -> None:
    demos = [
        {"question": text, "answer": text[:3]} for text in ("red apples", "blue whales", "green apples", "old cars")
    ]
    program = {"kind": "knn", "signature": "question -> answer", "demos": demos, "config": {"k": 2}}
    result = await call(make_engine(ScriptedLM().lm), program, {"question": "which apples"})
    assert {item["question"] for item in result.outputs["examples"]} == {"red apples", "green apples"}
    scripted = ScriptedLM([{"answer": "fruit"}])
    with_child = {"kind": "knn", "demos": demos, "config": {"k": 1}, "children": {"program": QA}}
    result = await call(make_engine(scripted.lm), with_child, {"question": "blue whales swim"})
    assert result.outputs == {"answer": "fruit"}
    texts = [text for _, text in scripted.asked[0].messages]
    assert any("blue whales\n" in text or text.endswith("blue whales") for text in texts[1:-1])
    assert not any("old cars" in text for text in texts)


# custom


def allowing(*paths: str) -> Settings:
    return Settings(lms={"default": LmSettings(model="offline/extractive")}, allowed_imports=paths)


@pytest.mark.anyio
@pytest.mark.req("FR1.1.3", "OWN-9")
async def test_allowed_modules_run_synchronous_ones_in_a_thread(make_engine: Make, call: Any) -> None:
    path = f"{HERE}:Shout"
    engine = make_engine(ScriptedLM([{"answer": "yes"}]).lm, settings=allowing(path))
    program = {"kind": "custom", "import": path, "config": {"args": {"mark": "?!"}}}
    result = await call(engine, program, {"question": "?"})
    assert result.outputs["answer"] == "YES?!"
    assert result.outputs["thread"] != "MainThread"
    assert engine.abandoned_threads == 0


@pytest.mark.anyio
async def test_allowed_modules_with_several_predictors_say_their_signature(make_engine: Make, call: Any) -> None:
    path = f"{HERE}:Twice"
    engine = make_engine(ScriptedLM([{"draft": "d"}, {"answer": "a"}]).lm, settings=allowing(path))
    assert "2 predictors" in refused(engine, {"kind": "custom", "import": path}).message
    program = {"kind": "custom", "import": path, "signature": "question -> answer"}
    assert (await call(engine, program, {"question": "?"})).outputs == {"answer": "a"}


@pytest.mark.req("OWN-9")
def test_what_is_not_allowed_is_never_imported(make_engine: Make) -> None:
    engine = make_engine(settings=allowing(f"{HERE}:broken", f"{HERE}:NOTHING", "no.such:Thing"))
    for path in ("os:system", "antigravity:x", f"{HERE}:Shout"):
        assert refused(engine, {"kind": "custom", "import": path}).kind == "not_found"
    assert refused(engine, {"kind": "custom", "import": "no.such:Thing"}).kind == "not_found"
    assert "no weights" in refused(engine, {"kind": "custom", "import": f"{HERE}:broken"}).message
    assert refused(engine, {"kind": "custom", "import": f"{HERE}:NOTHING"}).kind == "program_error"


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_a_cancelled_thread_ends_at_its_lm_call_and_is_counted_until_then(make_engine: Make, call: Any) -> None:
    path = f"{HERE}:Shout"
    held = Answer(fields={"answer": "late"}, gate=Gate())
    engine = make_engine(ScriptedLM([held]).lm, settings=allowing(path))
    running = asyncio.ensure_future(call(engine, {"kind": "custom", "import": path}, {"question": "?"}))
    await held.reached.passed()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(10):
        while engine.abandoned_threads:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# registered signature classes


@pytest.mark.anyio
async def test_registered_classes_may_change_their_outputs(make_engine: Make, call: Any) -> None:
    class Loud(dspy.Signature):
        """Answer."""

        question: str = dspy.InputField()
        answer: str = dspy.OutputField()

        @classmethod
        def process_output(cls, outputs: dict[str, Any]) -> dict[str, Any]:
            return {**outputs, "answer": outputs["answer"].upper()}

    engine = make_engine(ScriptedLM([{"answer": "yes"}]).lm, signature_classes={"Loud": Loud})
    program = {"kind": "predict", "signature": {"class": "Loud"}}
    assert (await call(engine, program, {"question": "?"})).outputs == {"answer": "YES"}


# sandboxed


@pytest.mark.parametrize("kind", ["program_of_thought", "code_act", "rlm"])
def test_without_deno_the_line_to_run_is_said(make_engine: Make, kind: str) -> None:
    program = {"format": 1, "kind": kind, "signature": "question -> answer"}
    engine = make_engine()
    if has_deno():
        assert engine.compile(program).describe()["kind"] == kind
        assert f"kind:{kind}" in engine.features
    else:
        error = refused(engine, program)
        assert (error.kind, "pip install 'dspy[deno]'" in error.message) == ("unavailable", True)
        assert f"kind:{kind}" not in engine.features


def test_every_kind_of_the_schema_is_known() -> None:
    import json

    from python_bridge._spec import spec_path

    schema = json.loads(spec_path("program.schema.json").read_text("utf-8"))
    assert set(schema["$defs"]["program"]["properties"]["kind"]["enum"]) == set(KINDS)
