"""The scripted LM."""

import asyncio
import threading
from typing import Any

import dspy
import pydantic
import pytest

from python_bridge.testing import Answer, Asked, Gate, ScriptedLM, ScriptExhausted

ADAPTERS = {
    "chat": dspy.ChatAdapter(use_json_adapter_fallback=False),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(use_json_adapter_fallback=False),
}


class Point(pydantic.BaseModel):
    x: int
    label: str | None = None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_fields_are_written_in_the_format_of_the_adapter_that_asks(adapter: str) -> None:
    fields = {"answer": "a < b & c", "count": 3, "sure": True, "parts": ["x", "y"], "point": Point(x=1)}
    script = ScriptedLM([fields])
    with dspy.context(lm=script.lm, adapter=ADAPTERS[adapter]):
        signature = dspy.Signature(
            "question -> answer, count: int, sure: bool, parts: list[str], point: Point", custom_types={"Point": Point}
        )
        assert dspy.Predict(signature)(question="Why?").toDict() == {**fields, "point": {"x": 1, "label": None}}
    assert script.left == 0


def test_text_stands_as_it_is() -> None:
    lm = ScriptedLM(["nothing of use"]).lm
    with dspy.context(lm=lm, adapter=ADAPTERS["chat"]), pytest.raises(dspy.utils.exceptions.AdapterParseError):
        dspy.Predict("question -> answer")(question="Why?")


@pytest.mark.parametrize(
    "error", [dspy.LMRateLimitError("slow down", retry_after=2.0), dspy.LMAuthError("who are you?")], ids=repr
)
def test_errors_reach_the_caller_as_they_were_given(error: Exception) -> None:
    with dspy.context(lm=ScriptedLM([error]).lm), pytest.raises(type(error)) as caught:
        dspy.Predict("question -> answer")(question="Why?")
    assert caught.value is error


def test_a_callable_sees_the_request() -> None:
    def shout(asked: Asked) -> dict[str, str]:
        return {"answer": asked.prompt.inputs["question"].upper()}

    script = ScriptedLM(default=shout, temperature=0.3)
    with dspy.context(lm=script.lm):
        assert dspy.Predict("question -> answer")(question="why").answer == "WHY"
        assert dspy.Predict("question -> answer")(question="how").answer == "HOW"
    assert [asked.prompt.inputs for asked in script.asked] == [{"question": "why"}, {"question": "how"}]
    assert script.asked[0].request.config.temperature == 0.3


def test_a_request_too_many_is_an_error() -> None:
    script = ScriptedLM()
    with (
        dspy.context(lm=script.lm),
        pytest.raises(dspy.LMUnexpectedError, match="no answer for request number 1") as caught,
    ):
        dspy.Predict("question -> answer")(question="Why?")
    assert isinstance(caught.value.__cause__, ScriptExhausted)
    script.push({"answer": "now"})
    with dspy.context(lm=script.lm):
        assert dspy.Predict("question -> answer")(question="Why?").answer == "now"


def test_usage_is_what_the_script_says() -> None:
    script = ScriptedLM([Answer(fields={"answer": "x"}, usage=(100, 7))])
    with dspy.context(lm=script.lm, track_usage=True):
        usage = dspy.Predict("question -> answer")(question="Why?").get_lm_usage()["scripted/lm"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 7, 107)


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_an_answer_waits_at_its_gate_and_a_cancelled_call_leaves_it() -> None:
    first, second = (Answer(fields={"answer": name}, gate=Gate()) for name in ("one", "two"))
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=ScriptedLM([first, second]).lm):
        cancelled = asyncio.create_task(predict.acall(question="1"))
        await first.reached.passed()
        waiting = asyncio.create_task(predict.acall(question="2"))
        await second.reached.passed()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not waiting.done()
    second.gate.open()
    assert (await waiting).answer == "two"


def test_a_gate_holds_a_thread_too() -> None:
    answer = Answer(fields={"answer": "late"}, gate=Gate())
    results: list[str] = []
    lm = ScriptedLM([answer]).lm

    def ask() -> None:
        with dspy.context(lm=lm):
            results.append(dspy.Predict("question -> answer")(question="Why?").answer)

    thread = threading.Thread(target=ask)
    thread.start()
    answer.reached.wait()
    assert results == []
    answer.gate.open()
    thread.join(30)
    assert results == ["late"]


async def collect(program: Any, **inputs: Any) -> list[Any]:
    return [item async for item in program(**inputs)]


def streaming(lm: Any) -> Any:
    listener = dspy.streaming.StreamListener("answer")
    return dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listener])


@pytest.mark.anyio
async def test_a_stream_comes_in_the_pieces_of_the_script() -> None:
    text = "[[ ## answer ## ]]\none two three four\n\n[[ ## completed ## ]]"
    pieces = ["[[ ## answer ## ]]\n", "one ", "two ", "three ", "four", "\n\n[[ ## completed ## ]]"]
    script = ScriptedLM([Answer(text=text, pieces=pieces)])
    with dspy.context(lm=script.lm):
        *chunks, prediction = await collect(streaming(script.lm), question="Why?")
    assert "".join(chunk.chunk for chunk in chunks) == "one two three four"
    assert prediction.answer == "one two three four"


@pytest.mark.anyio
async def test_a_stream_that_waits_has_sent_what_came_before() -> None:
    text = " ".join(f"word{n}" for n in range(40))
    answer = Answer(fields={"answer": text}, gate=Gate(), at=30)
    seen: list[Any] = []

    async def read() -> None:
        with dspy.context(lm=ScriptedLM([answer]).lm):
            async for item in streaming(None)(question="Why?"):
                seen.append(item)  # noqa: PERF401 - looked at from outside while it grows

    task = asyncio.create_task(read())
    await answer.reached.passed()
    before = len(seen)
    answer.gate.open()
    await task
    assert 0 < before < len(seen)


@pytest.mark.anyio
async def test_a_stream_fails_in_the_middle() -> None:
    answer = Answer(fields={"answer": "a b c d e f g h i j k l m n"}, error=dspy.LMServerError("gone"), at=9)
    with dspy.context(lm=ScriptedLM([answer]).lm), pytest.raises((dspy.LMServerError, ExceptionGroup)) as caught:
        await collect(streaming(None), question="Why?")
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is answer.error


@pytest.mark.anyio
@pytest.mark.req("OWN-2")
async def test_hundreds_of_calls_share_one_script() -> None:
    script = ScriptedLM({"answer": str(n)} for n in range(300))
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=script.lm):
        predictions = await asyncio.gather(*(predict.acall(question="?") for _ in range(300)))
    assert sorted(int(prediction.answer) for prediction in predictions) == list(range(300))
    assert len(script.asked) == 300


@pytest.mark.parametrize("wrong", [{"fields": {}, "text": ""}, {}])
def test_an_answer_that_is_two_things_or_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Answer"):
        Answer(**wrong)


@pytest.mark.anyio
async def test_a_gate_that_stays_closed_times_out() -> None:
    gate = Gate()
    with pytest.raises(TimeoutError):
        gate.wait(0.001)
    with pytest.raises(TimeoutError):
        await gate.passed(0.001)
    gate.open()
    gate.open()
    await gate.passed()
    gate.wait()
    assert gate.opened_at is not None
