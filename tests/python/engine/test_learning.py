"""Evaluation, and an optimiser whose result is a program again."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext
from python_bridge.engine.learning.bootstrap import bootstrap_few_shot
from python_bridge.engine.learning.evaluation import Example, evaluate
from python_bridge.engine.learning.metrics import client_metric, named_metric
from python_bridge.errors import BridgeError
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

Make = Callable[..., DSPyEngine]
QA: dict[str, Any] = {"format": 1, "kind": "predict", "signature": "question -> answer"}


def example(question: str, answer: str) -> Example:
    return Example({"question": question}, {"answer": answer})


def echo(asked: Any) -> Any:
    """Answer with the question; refuse the question `fail`."""
    question = asked.prompt.inputs["question"]
    return lm15.AuthError("no", provider="x", status=401) if question == "fail" else {"answer": question}


@pytest.mark.anyio
@pytest.mark.req("OWN-10")
async def test_an_evaluation_scores_every_example_once_in_order(make_engine: Make) -> None:
    scripted, told = ScriptedLM(default=echo), []
    examples = [example("a", "A!"), example("b", "x"), example("fail", "y")]

    async def progress(done: int, total: int, score: float) -> None:
        told.append((done, total, score))

    program = make_engine(scripted.lm).compile(QA)
    result = await evaluate(program, examples, named_metric("exact_match"), progress=progress)
    assert (result["score"], result["total"], result["failed"]) == (pytest.approx(1 / 3), 3, 1)
    assert [item["score"] for item in result["results"]] == [1.0, 0.0, 0.0]
    assert result["results"][2]["error"]["data"]["kind"] == "lm_error"
    assert told == [(1, 3, 1.0), (2, 3, 0.5), (3, 3, pytest.approx(1 / 3))]
    assert result["usage"]["lm_calls"] == 2
    assert len(scripted.asked) == 3


@pytest.mark.anyio
@pytest.mark.req("OWN-6", "OWN-10")
async def test_the_client_may_be_the_metric(make_engine: Make) -> None:
    asked: list[Any] = []

    async def call_tool(tool: str, arguments: dict[str, Any], call_id: str, seconds: float | None) -> Any:
        asked.append((tool, arguments, call_id, seconds))
        return 0.5

    program = make_engine(ScriptedLM(default=echo).lm).compile(QA)
    result = await evaluate(program, [example("a", "b")], client_metric("judge", call_tool, "e1", 3.0))
    assert result["score"] == 0.5
    arguments = {"inputs": {"question": "a"}, "expected": {"answer": "b"}, "outputs": {"answer": "a"}}
    assert asked == [("judge", arguments, "e1-metric-1", 3.0)]


@pytest.mark.anyio
async def test_a_metric_that_gives_no_number_fails_its_example(make_engine: Make) -> None:
    async def call_tool(*_: Any) -> Any:
        return "fine"

    program = make_engine(ScriptedLM(default=echo).lm).compile(QA)
    result = await evaluate(program, [example("a", "b")], client_metric("judge", call_tool, "e1"))
    assert result["results"][0]["error"]["data"]["kind"] == "tool_error"


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_cancelling_an_evaluation_cancels_its_calls(make_engine: Make) -> None:
    held = [Answer(fields={"answer": "x"}, gate=Gate()) for _ in range(2)]
    scripted = ScriptedLM(held)
    program = make_engine(scripted.lm).compile(QA)
    examples = [example(str(index), "x") for index in range(10)]
    running = asyncio.ensure_future(evaluate(program, examples, named_metric("f1"), concurrency=2))
    for answer in held:
        await answer.reached.passed()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(scripted.asked) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "expected", "given", "score"),
    [
        ("exact_match", "The Cat!", "cat", 1.0),
        ("exact_match", 3, 3, 1.0),
        ("exact_match", 3, "3", 0.0),
        ("contains", "bern", "It is Bern.", 1.0),
        ("f1", "a red fox", "red fox red", pytest.approx(0.8)),
    ],
)
async def test_named_metrics_compare_as_dspy_does(name: str, expected: Any, given: Any, score: float) -> None:
    assert await named_metric(name)({}, {"answer": expected}, {"answer": given}) == score
    with pytest.raises(BridgeError, match="not known"):
        named_metric("nope")


def test_examples_that_are_none_are_named() -> None:
    assert Example.from_map({"inputs": {"q": 1}, "outputs": {}}, 0).inputs == {"q": 1}
    for item in (5, {"inputs": {}}, {"inputs": 1, "outputs": {}}):
        with pytest.raises(BridgeError, match=r"examples\.3"):
            Example.from_map(item, 3)


@pytest.mark.anyio
@pytest.mark.req("OWN-5", "OWN-10")
async def test_bootstrapping_turns_good_answers_into_demos_of_every_predictor(make_engine: Make, call: Any) -> None:
    steps = [
        {**QA, "kind": "chain_of_thought", "signature": "question -> draft"},
        {**QA, "signature": "draft -> answer"},
    ]
    program = {"format": 1, "kind": "chain", "steps": steps, "metadata": {"owner": "me"}}

    def script(asked: Any) -> Any:
        if "question" in asked.prompt.inputs:
            return {"reasoning": "think", "draft": asked.prompt.inputs["question"]}
        return {"answer": asked.prompt.inputs["draft"]}

    scripted = ScriptedLM(default=script)
    engine = make_engine(scripted.lm)
    examples = [example("a", "wrong"), example("b", "b"), example("c", "c"), example("d", "d")]
    metric = named_metric("exact_match")
    outcome = await bootstrap_few_shot(
        engine, program, examples, metric, max_bootstrapped_demos=2, context=CallContext("b", tenant="t")
    )
    better = outcome.program
    assert (outcome.tried, outcome.bootstrapped, outcome.failed) == (3, 2, 0)
    assert orjson.loads(orjson.dumps(better)) == better
    assert better["metadata"] == {"owner": "me"}
    demos = {name: learned["demos"] for name, learned in better["state"].items()}
    assert demos["steps[0].predict"] == [
        {"augmented": True, "question": name, "reasoning": "think", "draft": name} for name in "bc"
    ]
    assert demos["steps[1]"] == [{"augmented": True, "draft": name, "answer": name} for name in "bc"]
    count = len(scripted.asked)
    assert count == 6  # a, b, c: two steps each; d was not needed
    assert (await call(engine, better, {"question": "z"})).outputs["answer"] == "z"
    assert any("think" in text for _, text in scripted.asked[count].messages[1:-1])


@pytest.mark.anyio
async def test_examples_that_were_not_needed_follow_as_labelled_demos(make_engine: Make) -> None:
    engine = make_engine(ScriptedLM(default=echo).lm)
    examples = [example("fail", "x"), example("a", "a"), example("b", "z")]
    outcome = await bootstrap_few_shot(engine, QA, examples, named_metric("exact_match"), max_labeled_demos=2)
    better = outcome.program
    assert outcome.failed == 1
    assert better["state"]["self"]["demos"] == [
        {"augmented": True, "question": "a", "answer": "a"},
        {"question": "fail", "answer": "x"},
    ]
    assert engine.hash_program(better) != engine.hash_program(QA)
