"""A worker in memory, as users' suites have it."""

import asyncio
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing import Answer, Behaviour, Gate, OpenAIServer, ScriptedLM
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker

PROGRAM = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
INPUTS = {"context": "The mill is red. The barn is green.", "question": "How is the barn?"}


@pytest.mark.anyio
async def test_a_call_is_answered_by_the_scripted_lm() -> None:
    script = ScriptedLM([{"answer": "42"}])
    async with memory_worker(lms={"default": script.lm}) as client:
        prediction = await client.request("call", {"program": PROGRAM, "inputs": INPUTS})
    assert prediction["outputs"] == {"answer": "42"}
    assert script.asked[0].prompt.inputs == INPUTS


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3", "FR2.2.4")
async def test_the_embedded_lm_streams_through_it() -> None:
    settings = Settings(lms={"default": LmSettings("offline/extractive")})
    async with memory_worker(settings) as client:
        stream = client.stream("call", {"program": PROGRAM, "inputs": INPUTS}, credit=1)
        texts = [event["text"] async for event in stream if event["type"] == "token"]
        result = await stream.result()
    assert "".join(texts) == result["outputs"]["answer"] == "The barn is green."
    assert len(texts) > 2


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_a_cancelled_call_ends_the_lms_work() -> None:
    answer = Answer(fields={"answer": "late"}, gate=Gate())
    async with memory_worker(lms={"default": ScriptedLM([answer]).lm}) as client:
        number = client.send("call", {"program": PROGRAM, "inputs": INPUTS})
        await answer.reached.passed()
        client.cancel(number)
        with pytest.raises(BridgeError) as caught:
            await client.response(number)
    assert caught.value.kind == "cancelled"


@pytest.mark.anyio
async def test_a_real_http_lm_is_called_over_a_socket_and_dropped_on_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_TEST_KEY", "sk-test")
    async with OpenAIServer(token="sk-test") as server:
        lm = LmSettings("openai/any", api_key_env="MEMORY_TEST_KEY", api_base=server.base_url)
        async with memory_worker(Settings(lms={"default": lm})) as client:
            prediction = await client.request("call", {"program": PROGRAM, "inputs": INPUTS})
            assert prediction["outputs"]["answer"] == "The barn is green."
            server.push(Behaviour(stall=True))
            number = client.send("call", {"program": PROGRAM, "inputs": INPUTS})
            await server.until(requests=2)
            client.cancel(number)
            with pytest.raises(BridgeError, match="cancel"):
                await client.response(number)
            await server.until(disconnects=1)


@pytest.mark.anyio
async def test_it_takes_an_engine_without_dspy() -> None:
    engine = ScriptedEngine()
    async with memory_worker(engine=engine, tools={"add": add}) as client:
        steps = [{"tool": "add", "arguments": {"a": 1, "b": 2}}]
        result = await client.request("call", {"program": {"kind": "scripted"}, "inputs": {"script": steps}})
    assert result["outputs"]["tools"] == [3]
    assert engine.closed


async def add(arguments: dict[str, Any]) -> Any:
    await asyncio.sleep(0)
    return arguments["a"] + arguments["b"]


@pytest.mark.anyio
async def test_an_engine_that_cannot_be_loaded_is_an_error() -> None:
    broken = Settings(engine="scripted", default_lm="unavailable")
    with pytest.raises(BridgeError) as caught:
        async with memory_worker(broken):
            pass
    assert caught.value.kind == "unavailable"
