"""Streams: field tokens in order, one stream a call, at the client's pace."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.errors import BridgeError
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

Make = Callable[..., DSPyEngine]
COT = {"format": 1, "kind": "chain_of_thought", "signature": "question -> answer, n: int"}
FIELDS = {"reasoning": "so it is\n\nand so on", "answer": "forty two", "n": 42}


class Events(list[dict[str, Any]]):
    """Takes events; `texts` joins the tokens of each field."""

    async def emit(self, event: dict[str, Any]) -> None:
        self.append(event)

    def texts(self) -> dict[str, str]:
        tokens = [event for event in self if event["type"] == "token"]
        joined: dict[str, str] = {}
        for event in tokens:
            joined[event["field"]] = joined.get(event["field"], "") + event["text"]
        lasts = [event["field"] for event in tokens if event["last"]]
        assert sorted(lasts) == sorted(joined)
        return joined


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3", "OWN-4")
@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
async def test_every_field_streams_in_pieces_and_ends_once(make_engine: Make, call: Any, adapter: str) -> None:
    scripted, events = ScriptedLM([{**FIELDS}]), Events()
    result = await call(make_engine(scripted.lm), COT, {"question": "?"}, adapter=adapter, emit=events.emit)
    assert result.outputs == FIELDS
    assert events.texts() == {**FIELDS, "n": "42"}
    assert len([event for event in events if event["field"] == "reasoning"]) > 2
    assert [event["field"] for event in events if event["last"]] == ["reasoning", "answer", "n"]
    assert "predictor" not in events[0]


@pytest.mark.anyio
async def test_an_answer_in_one_piece_gives_one_event_a_field(make_engine: Make, call: Any) -> None:
    whole = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
    scripted, events = ScriptedLM([Answer(text=whole, pieces=[whole])]), Events()
    await call(make_engine(scripted.lm), "q -> answer", {"q": "?"}, emit=events.emit)
    assert events == [{"type": "token", "field": "answer", "text": "yes", "last": True}]


@pytest.mark.anyio
async def test_a_field_that_did_not_stream_still_gives_one_event(make_engine: Make, call: Any) -> None:
    scripted, events = ScriptedLM(["[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"]), Events()
    result = await call(make_engine(scripted.lm), "q -> answer, note: Optional[int]", {"q": "?"}, emit=events.emit)
    assert result.outputs == {"answer": "yes", "note": None}
    assert events[-1] == {"type": "token", "field": "note", "text": "null", "last": True}


@pytest.mark.anyio
@pytest.mark.req("OWN-4")
async def test_a_client_that_waits_stops_the_lm_s_stream(make_engine: Make, call: Any) -> None:
    credit, first = Gate(), Gate()
    beyond = Answer(text="[[ ## answer ## ]]\na b c d e f\n\n[[ ## completed ## ]]", at=12)
    scripted, seen = ScriptedLM([beyond]), []

    async def emit(event: dict[str, Any]) -> None:
        seen.append(event)
        first.open()
        await credit.passed()

    running = asyncio.ensure_future(call(make_engine(scripted.lm), "q -> answer", {"q": "?"}, emit=emit))
    await first.passed()
    for _ in range(50):
        await asyncio.sleep(0)
    assert (len(seen), beyond.reached.is_open) == (1, False)
    credit.open()
    assert (await running).outputs == {"answer": "a b c d e f"}


@pytest.mark.anyio
@pytest.mark.req("OWN-1", "OWN-4")
async def test_cancelling_a_stream_stops_it_at_once(make_engine: Make, call: Any) -> None:
    held = Answer(fields=FIELDS, gate=Gate(), at=8)
    scripted, events = ScriptedLM([held]), Events()
    running = asyncio.ensure_future(call(make_engine(scripted.lm), COT, {"question": "?"}, emit=events.emit))
    await held.reached.passed()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    count = len(events)
    assert held.gate is not None
    held.gate.open()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(events) == count


@pytest.mark.anyio
@pytest.mark.req("OWN-4")
async def test_a_stream_that_is_cancelled_disturbs_no_other(make_engine: Make, call: Any) -> None:
    held = [Answer(fields=FIELDS, gate=Gate(), at=8) for _ in range(3)]
    sinks = [Events() for _ in held]
    engine = make_engine(ScriptedLM([*held]).lm)
    running = [asyncio.ensure_future(call(engine, COT, {"question": "?"}, emit=sink.emit)) for sink in sinks]
    for answer in held:
        await answer.reached.passed()
    running[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await running[1]
    for answer in held:
        assert answer.gate is not None
        answer.gate.open()
    for index in (0, 2):
        assert (await running[index]).outputs == FIELDS
        assert sinks[index].texts() == {**FIELDS, "n": "42"}


@pytest.mark.anyio
@pytest.mark.req("OWN-4")
async def test_sixty_four_streams_at_once_are_each_correct(make_engine: Make) -> None:
    def script(asked: Any) -> dict[str, Any]:
        number = asked.messages[-1][1].split("number ")[1].split()[0]
        return {"reasoning": f"thinking of {number} " * 5, "answer": f"answer {number}", "n": int(number)}

    engine = make_engine(ScriptedLM(default=script).lm)
    program = engine.compile(COT)
    sinks = [Events() for _ in range(64)]
    calls = [
        program.call({"question": f"number {index} please"}, CallOptions(), CallContext(str(index), emit=sink.emit))
        for index, sink in enumerate(sinks)
    ]
    results = await asyncio.gather(*calls)
    for index, (sink, result) in enumerate(zip(sinks, results, strict=True)):
        assert result.outputs["n"] == index
        assert sink.texts() == {**result.outputs, "n": str(index)}


@pytest.mark.anyio
async def test_an_error_in_mid_stream_is_not_tried_again_and_ends_the_call(make_engine: Make, call: Any) -> None:
    broken = lm15.ServerError("gone", provider="x", status=500)
    scripted, events = ScriptedLM([Answer(fields=FIELDS, error=broken, at=8), {**FIELDS}], num_retries=3), Events()
    with pytest.raises(BridgeError) as caught:
        await call(make_engine(scripted.lm), COT, {"question": "?"}, emit=events.emit)
    assert (caught.value.kind, scripted.left) == ("lm_error", 1)
    assert events


@pytest.mark.anyio
async def test_an_unreadable_streamed_answer_is_asked_for_again_as_json_before_anything_went_out(
    make_engine: Make, call: Any
) -> None:
    scripted, events = ScriptedLM(["I would rather talk.", '{"answer": "yes"}']), Events()
    result = await call(make_engine(scripted.lm), "q -> answer", {"q": "?"}, emit=events.emit)
    assert (result.outputs, events.texts()) == ({"answer": "yes"}, {"answer": "yes"})


@pytest.mark.anyio
async def test_with_several_candidates_only_the_first_streams(make_engine: Make, call: Any) -> None:
    scripted, events = ScriptedLM([{"answer": "a"}, {"answer": "b"}]), Events()
    result = await call(make_engine(scripted.lm), "q -> answer", {"q": "?"}, emit=events.emit, config={"n": 2})
    assert [item["answer"] for item in result.completions] == ["a", "b"]
    assert events.texts() == {"answer": "a"}
