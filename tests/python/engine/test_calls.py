"""Calls: results as plain values, each call apart from all others, cancellation."""

import asyncio
import datetime
import enum
import gc
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

Make = Callable[..., DSPyEngine]


class Mood(enum.Enum):
    GOOD = "good"


class Person(BaseModel):
    name: str
    mood: Mood
    born: datetime.date | None = None


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "FR1.3.1", "FR1.3.4")
async def test_a_prediction_has_outputs_usage_cost_model_and_adapter(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([Answer(fields={"answer": "Paris"}, usage=(10, 3))])
    result = await call(make_engine(scripted.lm), "question -> answer", {"question": "capital?"})
    assert result.outputs == {"answer": "Paris"}
    assert result.usage == {
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "total_tokens": 13,
        "lm_calls": 1,
        "by_model": {"scripted/lm": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}},
    }
    assert (result.model, result.adapter, result.completions, result.cost) == ("scripted/lm", "chat", None, None)


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1")
async def test_chain_of_thought_reasons_first(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([{"reasoning": "2 and 2", "answer": 4}])
    program = {"kind": "chain_of_thought", "signature": "question -> answer: int"}
    assert (await call(make_engine(scripted.lm), program, {"question": "2+2"})).outputs == {
        "reasoning": "2 and 2",
        "answer": 4,
    }


@pytest.mark.anyio
@pytest.mark.req("FR1.2.4", "NFR5.1.2")
async def test_outputs_are_plain_values(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([{
        "person": {"name": "Ada", "mood": "good", "born": "1815-12-10"}, "tags": ["a", "b"],
        "price": "1.25", "took": "PT90S", "pair": [1, "x"],
    }])  # fmt: skip
    engine = make_engine(scripted.lm, types={"Person": Person})
    text = (
        "q -> person: Person, tags: set[str], price: decimal.Decimal, took: datetime.timedelta, pair: tuple[int, str]"
    )
    assert (await call(engine, text, {"q": "?"}, adapter="json")).outputs == {
        "person": {"name": "Ada", "mood": "good", "born": datetime.date(1815, 12, 10)},
        "tags": frozenset({"a", "b"}),
        "price": "1.25",
        "took": "PT1M30S",
        "pair": (1, "x"),
    }


@pytest.mark.anyio
@pytest.mark.req("FR1.1.2")
async def test_n_gives_all_completions_asked_for_at_once(make_engine: Make, call: Any) -> None:
    gate, waiting = Gate(), [Answer(fields={"answer": name}) for name in "abc"]
    scripted = ScriptedLM([Answer(fields=item.fields, gate=gate, reached=item.reached) for item in waiting])
    running = asyncio.ensure_future(call(make_engine(scripted.lm), "q -> answer", {"q": "?"}, config={"n": 3}))
    for item in waiting:
        await item.reached.passed()
    gate.open()
    result = await running
    assert result.outputs == {"answer": "a"}
    assert result.completions == [{"answer": "a"}, {"answer": "b"}, {"answer": "c"}]
    assert result.usage["lm_calls"] == 3


@pytest.mark.anyio
@pytest.mark.req("FR1.1.2")
async def test_parameters_of_the_call_win_over_those_of_the_program_and_of_the_lm(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM(default={"answer": "x"}, temperature=0.1, max_tokens=5)
    program = {
        "kind": "predict", "signature": "q -> answer", "config": {"temperature": 0.2},
        "lm": {"name": "default", "params": {"top_p": 0.3, "temperature": 0.9}},
    }  # fmt: skip
    engine = make_engine(scripted.lm)
    await call(engine, program, {"q": "?"}, config={"temperature": 0.4})
    await call(engine, program, {"q": "?"})
    configs = [asked.request.config for asked in scripted.asked]
    assert [(config.temperature, config.top_p, config.max_tokens) for config in configs] == [
        (0.4, 0.3, 5),
        (0.2, 0.3, 5),
    ]


@pytest.mark.anyio
@pytest.mark.req("OWN-2", "NFR1.2.2")
async def test_a_hundred_calls_with_different_lms_in_one_loop_do_not_mix(make_engine: Make) -> None:
    gate = Gate()
    waiting = [Answer(fields={"answer": f"from {index}"}, gate=gate) for index in range(100)]
    lms = {f"lm{index}": ScriptedLM([answer], model=f"scripted/{index}") for index, answer in enumerate(waiting)}
    engine = make_engine(lms={name: scripted.lm for name, scripted in lms.items()})
    program = engine.compile({"format": 1, "kind": "predict", "signature": "q -> answer"})
    calls = [asyncio.ensure_future(program.call({"q": name}, CallOptions(lm=name), CallContext(name))) for name in lms]
    for answer in waiting:
        await answer.reached.passed()
    gate.open()
    for index, result in enumerate(await asyncio.gather(*calls)):
        assert (result.outputs, result.model) == ({"answer": f"from {index}"}, f"scripted/{index}")
        assert result.usage["lm_calls"] == 1


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_cancelling_a_call_stops_the_lm_call_and_the_next_call_works(make_engine: Make, call: Any) -> None:
    held = Answer(fields={"answer": "late"}, gate=Gate())
    scripted = ScriptedLM([held, {"answer": "next"}])
    engine = make_engine(scripted.lm)
    running = asyncio.ensure_future(call(engine, "q -> answer", {"q": "?"}))
    await held.reached.passed()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await call(engine, "q -> answer", {"q": "?"})).outputs == {"answer": "next"}


@pytest.mark.anyio
@pytest.mark.req("NFR5.1.3")
async def test_calls_leave_nothing_behind_in_dspy(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM(default={"answer": "x"})
    engine = make_engine(scripted.lm)
    for _ in range(5):
        await call(engine, "q -> answer", {"q": "secret"})
    from dspy.clients.base_lm import GLOBAL_HISTORY

    assert (dspy.settings.trace, dspy.settings.lm, GLOBAL_HISTORY) == (None, None, [])
    assert engine._runner.lms.get("default").history == []


@pytest.mark.anyio
async def test_an_unknown_lm_or_adapter_is_named(make_engine: Make, call: Any) -> None:
    engine = make_engine(ScriptedLM().lm)
    with pytest.raises(BridgeError, match="no LM named 'gpt'") as caught:
        await call(engine, "q -> a", {"q": "?"}, lm="gpt")
    assert caught.value.kind == "not_found"
    with pytest.raises(BridgeError, match="adapter 'yaml'") as caught:
        await call(engine, "q -> a", {"q": "?"}, adapter="yaml")
    assert caught.value.kind == "invalid_input"


@pytest.mark.anyio
async def test_a_missing_key_is_said_with_the_name_of_its_variable(make_engine: Make, call: Any) -> None:
    lms = {"default": LmSettings(model="openai/gpt-4o-mini", api_key_env="NO_SUCH_KEY_VARIABLE")}
    with pytest.raises(BridgeError, match="NO_SUCH_KEY_VARIABLE") as caught:
        await call(make_engine(settings=Settings(lms=lms)), "q -> a", {"q": "?"})
    assert caught.value.kind == "lm_error"


@pytest.mark.anyio
@pytest.mark.req("OWN-8")
async def test_the_embedded_lm_answers_without_settings(make_engine: Make, call: Any) -> None:
    engine = make_engine(settings=Settings())
    await engine.warm_up()
    inputs = {"context": "Bern is the capital of Switzerland. Cows eat grass.", "question": "What is the capital?"}
    result = await call(engine, "context, question -> answer", inputs, lm="offline/extractive")
    assert "Bern" in result.outputs["answer"]
    await engine.close()


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_cancelled_calls_leave_no_tasks_and_no_objects(make_engine: Make) -> None:
    scripted = ScriptedLM(default=Answer(fields={"answer": "late"}, gate=Gate(), at=2))
    program = make_engine(scripted.lm).compile({"format": 1, "kind": "predict", "signature": "q -> answer"})

    async def emit(_event: dict[str, Any]) -> None:
        pass

    async def cancel_many() -> int:
        contexts = [CallContext(str(index), emit=emit if index % 2 else None) for index in range(200)]
        calls = [asyncio.ensure_future(program.call({"q": "?"}, CallOptions(), context)) for context in contexts]
        for _ in range(5):
            await asyncio.sleep(0)
        for running in calls:
            running.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        scripted.asked.clear()
        del calls, outcomes, contexts
        gc.collect()
        return len(gc.get_objects())

    gc.collect()
    gc.freeze()  # what is there already need not be looked at eight times
    try:
        before = [await cancel_many() for _ in range(3)][-1]
        after = [await cancel_many() for _ in range(5)][-1]
    finally:
        gc.unfreeze()
    assert after - before < 200
