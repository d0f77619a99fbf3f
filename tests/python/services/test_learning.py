"""LMs, evaluation and optimisers over the wire: a real worker, DSPy, scripted LMs."""

from typing import Any

import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing import ScriptedLM
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio

QA: dict[str, Any] = {"format": 1, "kind": "predict", "signature": "question -> answer"}


def example(question: str, answer: str) -> dict[str, Any]:
    return {"inputs": {"question": question}, "outputs": {"answer": answer}}


def echo(asked: Any) -> Any:
    """Answer with the question; refuse the question `fail`."""
    question = asked.prompt.inputs["question"]
    return lm15.AuthError("no", provider="x", status=401) if question == "fail" else {"answer": question}


async def put(client: Any, program: dict[str, Any] = QA) -> str:
    return (await client.request("module.create", {"program": program}))["module"]


@pytest.mark.req("FR1.1.4")
async def test_the_lms_of_the_settings_and_the_embedded_one_are_listed() -> None:
    lms = {
        "default": LmSettings("offline/extractive"),
        "big": LmSettings("openai/gpt-4o", api_key_env="NO_SUCH_KEY", cache=True),
    }
    async with memory_worker(Settings(lms=lms)) as client:
        answer = await client.request("lm.list")
    assert answer == {
        "lms": [
            {"name": "big", "model": "openai/gpt-4o", "default": False, "cache": True},
            {"name": "default", "model": "offline/extractive", "default": True, "cache": False},
            {"name": "offline/extractive", "model": "offline/extractive", "default": False, "cache": False},
        ]
    }


@pytest.mark.req("FR1.1.4")
async def test_an_lm_is_tested_by_one_question() -> None:
    refusing = ScriptedLM(default=lm15.AuthError("bad key", provider="x", status=401))
    scripted = {"default": ScriptedLM(["OK"], model="scripted/one").lm, "refusing": refusing.lm}
    async with memory_worker(lms=scripted) as client:
        answer = await client.request("lm.test")
        assert (answer["ok"], answer["lm"], answer["model"]) == (True, "default", "scripted/one")
        assert answer["latency_ms"] > 0
        assert answer["usage"]["lm_calls"] == 1
        with pytest.raises(BridgeError) as refused:
            await client.request("lm.test", {"lm": "refusing"})
        assert (refused.value.kind, refused.value.details["status"]) == ("lm_error", 401)
        with pytest.raises(BridgeError, match="no LM named 'nope'"):
            await client.request("lm.test", {"lm": "nope"})


async def test_the_embedded_lm_passes_its_test() -> None:
    async with memory_worker(Settings(lms={"default": LmSettings("offline/extractive")})) as client:
        assert (await client.request("lm.test"))["ok"] is True


@pytest.mark.req("OWN-10")
async def test_an_evaluation_tells_how_far_it_is_and_gives_every_example_s_outcome() -> None:
    examples = [example("a", "A!"), example("b", "x"), example("fail", "y")]
    async with memory_worker(lms={"default": ScriptedLM(default=echo).lm}) as client:
        params = {"module": await put(client), "examples": examples, "metric": "exact_match", "concurrency": 1}
        stream = client.stream("program.evaluate", params)
        told = [event async for event in stream]
        result = await stream.result()
    assert [(event["type"], event["done"], event["total"]) for event in told] == [
        ("status", 1, 3),
        ("status", 2, 3),
        ("status", 3, 3),
    ]
    assert [event["score"] for event in told] == [1.0, 0.5, pytest.approx(1 / 3)]
    assert (result["score"], result["total"], result["failed"]) == (pytest.approx(1 / 3), 3, 1)
    assert [item["outputs"] for item in result["results"]] == [{"answer": "a"}, {"answer": "b"}, None]
    assert result["results"][2]["error"]["data"]["kind"] == "lm_error"
    assert result["usage"]["lm_calls"] == 2


@pytest.mark.req("FR2.2.4", "OWN-10")
async def test_many_examples_that_end_together_share_little_credit() -> None:
    examples = [example(str(number), "x") for number in range(20)]
    async with memory_worker(lms={"default": ScriptedLM(default=echo).lm}) as client:
        params = {"module": await put(client), "examples": examples, "metric": "f1", "concurrency": 20}
        stream = client.stream("program.evaluate", params, credit=1)
        told = [event async for event in stream]
        assert (await stream.result())["total"] == 20
    assert sorted(event["done"] for event in told) == list(range(1, 21))
    assert stream.sequence == list(range(20))


@pytest.mark.req("OWN-6", "OWN-10")
async def test_a_metric_of_the_client_that_raises_fails_its_examples_only() -> None:
    async def judge(arguments: dict[str, Any]) -> Any:
        if arguments["outputs"]["answer"] == "b":
            raise ValueError("I cannot judge b")
        return arguments["outputs"] == {"answer": "a"}

    async with memory_worker(lms={"default": ScriptedLM(default=echo).lm}, tools={"judge": judge}) as client:
        examples = [example("a", "x"), example("b", "x"), example("c", "x")]
        params = {"module": await put(client), "examples": examples, "metric": {"tool": "judge", "timeout_ms": 5000}}
        result = await client.request("program.evaluate", params)
    assert [item["score"] for item in result["results"]] == [1.0, 0.0, 0.0]
    failed = result["results"][1]
    assert (result["failed"], failed["outputs"]) == (1, {"answer": "b"})
    assert failed["error"]["data"]["kind"] == "tool_error"
    assert "I cannot judge b" in failed["error"]["message"]


@pytest.mark.req("OWN-1", "OWN-10")
@pytest.mark.parametrize("method", ["program.evaluate", "program.optimize"])
async def test_a_cancelled_evaluation_asks_the_lm_no_more(method: str) -> None:
    held = Answer(fields={"answer": "x"}, gate=Gate())
    scripted = ScriptedLM([held], default=echo)
    examples = [example(str(number), "x") for number in range(10)]
    rest = {"examples": examples, "concurrency": 1}
    if method == "program.optimize":
        rest = {"trainset": examples, "optimizer": "bootstrap_few_shot"}
    async with memory_worker(lms={"default": scripted.lm}) as client:
        number = client.send(method, {"module": await put(client), "metric": "f1", **rest})
        await held.reached.passed()
        client.cancel(number)
        with pytest.raises(BridgeError) as cancelled:
            await client.response(number)
        assert cancelled.value.kind == "cancelled"
        held.gate.open()
        assert (await client.request("worker/status"))["in_flight"] == 0
    assert len(scripted.asked) == 1


@pytest.mark.req("OWN-5", "OWN-10")
async def test_an_optimised_program_is_plain_data_that_any_worker_runs() -> None:
    program = {**QA, "kind": "chain_of_thought"}

    def think(asked: Any) -> Any:
        return {"reasoning": "I echo.", **echo(asked)}

    trainset = [example("a", "wrong"), example("b", "b"), example("c", "c"), example("d", "d")]
    async with memory_worker(lms={"default": ScriptedLM(default=think).lm}) as client:
        config = {"max_bootstrapped_demos": 1, "max_labeled_demos": 2}
        params = {
            "module": await put(client, program),
            "optimizer": "bootstrap_few_shot",
            "trainset": trainset,
            "metric": "exact_match",
            "config": config,
        }
        stream = client.stream("program.optimize", params)
        told = [(event["done"], event["total"], event["score"]) async for event in stream]
        result = await stream.result()
        here = await client.request("module.call", {"module": result["module"], "inputs": {"question": "z"}})
    assert told == [(1, 4, 0.0), (2, 4, 0.5)]
    assert (result["tried"], result["bootstrapped"], result["failed"]) == (2, 1, 0)
    assert here["outputs"]["answer"] == "z"
    other = ScriptedLM(default=think)
    async with memory_worker(lms={"default": other.lm}) as client:
        await client.request("call", {"program": result["program"], "inputs": {"question": "z"}})
        assert await put(client, result["program"]) == result["module"]
    roles = [role for role, _ in other.asked[0].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "I echo." in other.asked[0].messages[4][1]  # complete demos stand last


@pytest.mark.req("OWN-10")
async def test_an_optimiser_whose_every_example_fails_gives_the_error() -> None:
    async def judge(arguments: dict[str, Any]) -> Any:
        raise ValueError("out of order")

    async with memory_worker(lms={"default": ScriptedLM(default=echo).lm}, tools={"judge": judge}) as client:
        params = {
            "module": await put(client),
            "optimizer": "bootstrap_few_shot",
            "trainset": [example("a", "a")] * 3,
            "metric": {"tool": "judge"},
        }
        with pytest.raises(BridgeError, match="out of order") as failed:
            await client.request("program.optimize", params)
    assert failed.value.kind == "tool_error"


@pytest.mark.req("OWN-5", "FR1.1.4")
async def test_a_dumped_program_has_the_state_of_every_predictor_and_runs_as_before() -> None:
    steps = [
        {**QA, "kind": "chain_of_thought", "signature": "question -> draft"},
        {**QA, "signature": "draft -> answer"},
    ]
    program = {"format": 1, "kind": "chain", "steps": steps}
    first = ScriptedLM([{"reasoning": "r", "draft": "d"}, {"answer": "a"}] * 2)
    async with memory_worker(lms={"default": first.lm}) as client:
        module = await put(client, program)
        dumped = (await client.request("module.dump", {"module": module}))["program"]
        assert set(dumped["state"]) == {"steps[0].predict", "steps[1]"}
        assert dumped["state"]["steps[1]"]["instructions"] != ""
        for each in (program, dumped):
            await client.request("call", {"program": each, "inputs": {"question": "q"}})
    asked = [item.messages for item in first.asked]
    assert asked[:2] == asked[2:]


async def test_demos_of_a_dumped_program_are_in_its_state_once() -> None:
    program = {**QA, "demos": [{"question": "1", "answer": "one"}]}
    async with memory_worker(lms={"default": ScriptedLM([]).lm}) as client:
        dumped = (await client.request("module.dump", {"module": await put(client, program)}))["program"]
    assert "demos" not in dumped
    assert dumped["state"]["self"]["demos"] == program["demos"]


@pytest.mark.req("NFR4.1.4")
@pytest.mark.parametrize(
    ("method", "changes", "kind", "words"),
    [
        ("program.evaluate", {"examples": [5]}, "invalid_input", "`examples.0`"),
        ("program.evaluate", {"examples": []}, "invalid_input", "`examples` is empty"),
        ("program.evaluate", {"metric": "nope"}, "invalid_input", "exact_match, f1, contains"),
        ("program.evaluate", {"metric": 5}, "invalid_request", "a map with `tool`"),
        ("program.evaluate", {"metric": {"tool": "judge"}}, "invalid_request", "answers no tool/call"),
        ("program.evaluate", {"concurrency": 0}, "invalid_input", "1 to 256"),
        ("program.evaluate", {"options": {"lm": "nope"}, "concurrency": 1}, None, ""),
        ("program.evaluate", {"module": "0" * 64}, "not_found", "program.put"),
        ("program.optimize", {"optimizer": "gepa"}, "invalid_input", "bootstrap_few_shot"),
        ("program.optimize", {"config": {"demos": 3}}, "invalid_request", "max_bootstrapped_demos"),
        ("program.optimize", {"config": {"max_labeled_demos": -1}}, "invalid_input", "0 or more"),
        ("program.optimize", {"trainset": [{"inputs": {}}]}, "invalid_input", "`trainset.0`"),
    ],
)
async def test_wrong_parameters_are_named(method: str, changes: dict[str, Any], kind: str | None, words: str) -> None:
    async with memory_worker(lms={"default": ScriptedLM(default=echo).lm}) as client:
        params: dict[str, Any] = {"module": await put(client), "metric": "f1"}
        if method == "program.evaluate":
            params["examples"] = [example("a", "a")]
        else:
            params |= {"optimizer": "bootstrap_few_shot", "trainset": [example("a", "a")]}
        params |= changes
        if kind is None:
            result = await client.request(method, params)
            assert result["results"][0]["error"]["data"]["kind"] == "not_found"
            return
        with pytest.raises(BridgeError) as wrong:
            await client.request(method, params)
    assert wrong.value.kind == kind
    assert words in wrong.value.message


async def test_an_engine_without_learning_says_so() -> None:
    async with memory_worker(engine=ScriptedEngine()) as client:
        with pytest.raises(BridgeError, match="cannot do that") as refused:
            await client.request("lm.list")
    assert refused.value.kind == "unavailable"
