"""What a call had spent when it failed, timed out or was cancelled: told in its error and in telemetry."""

import asyncio
from typing import Any

import pytest

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing import Answer, Gate, ScriptedLM
from python_bridge.testing.client import BridgeClient
from python_bridge.worker.memory import memory_worker

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR1.3.4", "NFR2.2.4")]

STEPS = [{"format": 1, "kind": "predict", "signature": text} for text in ("question -> draft", "draft -> answer: int")]
PROGRAM = {"format": 1, "kind": "chain", "steps": STEPS}
ASKED = {"program": PROGRAM, "inputs": {"question": "a private matter"}}
FIRST = Answer({"draft": "d"}, usage=(7, 3))
REFUSED = lm15.AuthError("no", provider="x", status=401)


async def failure(client: BridgeClient, **meta: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await client.request("call", ASKED, **meta)
    return caught.value


async def told(client: BridgeClient) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            events = [one.params for one in client.notifications if one.method == "telemetry/event"]
            if found := [event for event in events if event["name"] == "call.exception"]:
                return found[-1]["measurements"]
            await client.request("ping")
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("script", "calls", "tokens"),
    [
        ([FIRST, REFUSED], 1, 10),
        ([FIRST, *[Answer({"answer": "none"}, usage=(5, 1))] * 2], 3, 22),  # twice: once more as JSON
    ],
)
async def test_an_error_tells_what_was_spent_before_it(script: list[Any], calls: int, tokens: int) -> None:
    async with memory_worker(lms={"default": ScriptedLM(script).lm}) as client:
        await client.request("telemetry/configure", {"enabled": True, "events": ["call"]})
        error = await failure(client)
        measured = await told(client)
    assert error.kind == "lm_error"
    usage = error.details["usage"]
    assert (usage["lm_calls"], usage["total_tokens"], list(usage["by_model"])) == (calls, tokens, ["scripted/lm"])
    assert error.details["cost"] is None
    assert (measured["lm_calls"], measured["total_tokens"]) == (calls, tokens)


async def test_an_error_before_any_answer_tells_of_no_usage() -> None:
    async with memory_worker(lms={"default": ScriptedLM([REFUSED]).lm}) as client:
        error = await failure(client)
    assert error.details["status"] == 401
    assert not {"usage", "cost"} & set(error.details)


async def test_a_call_that_is_too_late_or_cancelled_tells_what_it_had_spent() -> None:
    stalled = [Answer({"answer": 1}, gate=Gate()) for _ in range(2)]
    scripted = ScriptedLM([FIRST, stalled[0], FIRST, stalled[1]])
    async with memory_worker(lms={"default": scripted.lm}) as client:
        await client.request("telemetry/configure", {"enabled": True, "events": ["call"]})
        number = client.send("call", ASKED)
        await stalled[0].reached.passed(30)
        client.cancel(number)
        with pytest.raises(BridgeError) as cancelled:
            await client.response(number)
        assert (cancelled.value.kind, cancelled.value.details["usage"]["total_tokens"]) == ("cancelled", 10)
        assert (await told(client))["total_tokens"] == 10
        late = await failure(client, deadline_ms=2000)
    assert (late.kind, late.details["usage"]["lm_calls"]) == ("timeout", 1)


async def test_a_session_s_sums_are_those_of_the_calls_that_changed_it(tmp_path: Any) -> None:
    scripted = ScriptedLM([FIRST, REFUSED, FIRST, Answer({"answer": 1}, usage=(2, 1))])
    settings = Settings(store=f"sqlite:///{tmp_path}/x.db")
    async with memory_worker(settings, lms={"default": scripted.lm}) as client:
        await client.request("session.open", {"session": "s"})
        error = await failure(client, session="s")
        assert error.details["usage"]["total_tokens"] == 10
        await client.request("call", ASKED, session="s")
        session = await client.request("session.describe", {"session": "s"})
    assert (session["usage"]["calls"], session["usage"]["total_tokens"]) == (1, 13)
