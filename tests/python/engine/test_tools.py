"""The client's functions as tools of a ReAct program."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from python_bridge.engine.engine import DSPyEngine
from python_bridge.errors import BridgeError
from python_bridge.testing.scripted import ScriptedLM

Make = Callable[..., DSPyEngine]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PROGRAM = {
    "kind": "react",
    "signature": "question -> answer",
    "tools": [{"name": "weather", "desc": "Weather of a city", "schema": SCHEMA, "timeout_ms": 5000}],
    "config": {"max_iters": 3},
}


def step(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"next_thought": f"use {tool}", "next_tool_name": tool, "next_tool_args": arguments}


ANSWER = {"reasoning": "seen", "answer": "sunny"}


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-6")
async def test_react_asks_the_client_for_its_tools(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([step("weather", city="Bern"), step("finish"), ANSWER])
    asked: list[Any] = []

    async def call_tool(*arguments: Any) -> Any:
        asked.append(arguments)
        return {"sky": "sunny"}

    result = await call(make_engine(scripted.lm), PROGRAM, {"question": "weather in Bern?"}, call_tool=call_tool)
    assert asked == [("weather", {"city": "Bern"}, "test-1", 5.0)]
    assert result.outputs["answer"] == "sunny"
    assert result.outputs["trajectory"]["observation_0"] == {"sky": "sunny"}
    assert result.usage["lm_calls"] == 3


@pytest.mark.anyio
@pytest.mark.req("OWN-6")
async def test_what_a_tool_raises_is_seen_by_the_program(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([step("weather", city="Bern"), step("finish"), ANSWER])

    async def call_tool(tool: str, *_: Any) -> Any:
        raise BridgeError("tool_error", "the station is down", details={"tool": tool})

    result = await call(make_engine(scripted.lm), PROGRAM, {"question": "?"}, call_tool=call_tool)
    assert "the station is down" in result.outputs["trajectory"]["observation_0"]


@pytest.mark.anyio
@pytest.mark.req("OWN-6")
@pytest.mark.parametrize("arguments", [{}, {"city": 5}, {"city": "Bern", "extra": 1}])
async def test_arguments_that_do_not_fit_the_schema_never_reach_the_client(
    make_engine: Make, call: Any, arguments: Any
) -> None:
    scripted = ScriptedLM([step("weather", **arguments), step("finish"), ANSWER])

    async def call_tool(*_: Any) -> Any:
        raise AssertionError("the client was asked")

    result = await call(make_engine(scripted.lm), PROGRAM, {"question": "?"}, call_tool=call_tool)
    assert "Execution error in weather" in result.outputs["trajectory"]["observation_0"]


@pytest.mark.anyio
async def test_a_client_without_tools_is_told_so(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([step("weather", city="Bern"), step("finish"), ANSWER])
    result = await call(make_engine(scripted.lm), PROGRAM, {"question": "?"})
    assert "does not answer tool calls" in result.outputs["trajectory"]["observation_0"]


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3")
async def test_tool_events_stand_between_the_tokens_in_order(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([step("weather", city="Bern"), step("finish"), ANSWER])
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    async def call_tool(*_: Any) -> Any:
        return "sunny"

    await call(make_engine(scripted.lm), PROGRAM, {"question": "?"}, call_tool=call_tool, emit=emit)
    kinds = [(event["type"], event.get("field") or event.get("tool")) for event in events]
    order = list(dict.fromkeys(kinds))
    assert order == [
        ("token", "next_thought"), ("thought", None), ("token", "next_tool_name"), ("token", "next_tool_args"),
        ("tool_start", "weather"), ("tool_end", "weather"), ("token", "reasoning"), ("token", "answer"),
    ]  # fmt: skip
    assert [event["text"] for event in events if event["type"] == "thought"] == ["use weather", "use finish"]
    assert {event["predictor"] for event in events if event["type"] == "token"} == {"react", "extract.predict"}
    ended = next(event for event in events if event["type"] == "tool_end")
    assert ended == {"type": "tool_end", "tool": "weather", "call_id": "test-1", "ok": True, "result": "sunny"}


@pytest.mark.anyio
@pytest.mark.req("OWN-1", "OWN-6")
async def test_cancelling_the_call_cancels_its_tool_call(make_engine: Make, call: Any) -> None:
    scripted = ScriptedLM([step("weather", city="Bern")])
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def call_tool(*_: Any) -> Any:
        asked.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    running = asyncio.ensure_future(call(make_engine(scripted.lm), PROGRAM, {"question": "?"}, call_tool=call_tool))
    await asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled.is_set()


@pytest.mark.parametrize(
    ("tools", "part"),
    [
        ([{"name": "a"}, {"name": "a"}], "stands twice"),
        ([{"name": "a", "schema": {"type": "array"}}], "one of an object"),
        ([{"name": "a", "schema": {"type": "nope"}}], "schema of the tool"),
    ],
)
def test_wrong_tools_are_refused(make_engine: Make, tools: Any, part: str) -> None:
    with pytest.raises(BridgeError, match=part) as caught:
        make_engine().compile({"format": 1, **PROGRAM, "tools": tools})
    assert caught.value.kind == "invalid_request"


@pytest.mark.parametrize("name", ["max_iters", "trajectory"])
def test_inputs_that_react_takes_for_itself_are_refused(make_engine: Make, name: str) -> None:
    with pytest.raises(BridgeError, match=name) as caught:
        make_engine().compile({"format": 1, **PROGRAM, "signature": f"question, {name} -> answer"})
    assert caught.value.kind == "signature_error"
