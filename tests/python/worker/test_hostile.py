"""A worker with real programs under what it should survive: floods, huge fields, streams without end."""

import asyncio
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing import Answer, Behaviour, Gate, OpenAIServer, ScriptedLM
from python_bridge.testing.client import BridgeClient
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio

PROGRAM = {"format": 1, "kind": "predict", "signature": "question -> answer"}


def ask(question: str) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"question": question}}


async def outcome(client: BridgeClient, question: str, **meta: Any) -> Any:
    try:
        return (await client.request("call", ask(question), **meta))["outputs"]["answer"]
    except BridgeError as error:
        return error


@pytest.mark.req("NFR1.2.2", "NFR1.2.4", "OWN-2")
async def test_of_a_thousand_calls_at_once_those_beyond_the_queue_are_refused_and_the_others_answered() -> None:
    gate = Gate()
    scripted = ScriptedLM(default=lambda asked: Answer({"answer": asked.prompt.inputs["question"]}, gate=gate))
    settings = Settings(max_in_flight=50, max_queue=100)
    async with memory_worker(settings, lms={"default": scripted.lm}) as client:
        calls = [asyncio.ensure_future(outcome(client, str(number))) for number in range(1000)]
        async with asyncio.timeout(60):
            while sum(call.done() for call in calls) < 850:
                await client.request("ping")
        gate.open()
        found = await asyncio.gather(*calls)
        assert await outcome(client, "afterwards") == "afterwards"
    refused = [error for error in found if isinstance(error, BridgeError)]
    assert len(refused) == 850
    assert {error.kind for error in refused} == {"overloaded"}
    assert all(error.retryable and error.retry_after for error in refused)
    answered = {number: value for number, value in enumerate(found) if not isinstance(value, BridgeError)}
    assert all(value == str(number) for number, value in answered.items())


@pytest.mark.req("FR1.2.4")
async def test_fields_of_ten_megabytes_go_in_and_out() -> None:
    large = "é" * 5_000_000
    scripted = ScriptedLM([Answer({"answer": large}, usage=(1, 1))])
    async with memory_worker(lms={"default": scripted.lm}) as client:
        assert await outcome(client, large) == large
    assert scripted.asked[0].prompt.inputs["question"] == large


@pytest.mark.req("OWN-1", "FR1.3.3")
async def test_a_stream_without_end_ends_when_its_reader_does_and_the_lm_s_connection_with_it() -> None:
    async with OpenAIServer() as server:
        lms = {"default": LmSettings(model="openai/any", api_base=server.base_url, retries=0)}
        async with memory_worker(Settings(lms=lms)) as client:
            server.push(Behaviour(fields={"answer": "on and on"}, endless=True, pace=0.001))
            stream = client.stream("call", ask("?"))
            assert (await stream.next())["type"] == "token"
            client.cancel(stream.id)
            with pytest.raises(BridgeError) as caught:
                await stream.result()
            await server.until(requests=1, disconnects=1)
            server.push(Behaviour(fields={"answer": "done"}))
            assert await outcome(client, "?") == "done"
    assert caught.value.kind == "cancelled"
