"""Calls over a real socket to a server that speaks OpenAI's API."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.engine.steps import shown
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_server import OpenAIServer

QA = "question -> answer"
ASK = {"question": "?"}
DISCONNECT_PROMISE_S, DISCONNECT_TRIES = 0.1, 10
ANSWER = Behaviour(fields={"answer": "yes"}, usage=(7, 3))


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(token="sk-right") as running:
        yield running


@pytest.fixture
async def engine(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DSPyEngine]:
    monkeypatch.setenv("RIGHT_KEY", "sk-right")
    monkeypatch.setenv("WRONG_KEY", "sk-wrong-and-secret")
    table = {"model": "openai/gpt-4o-mini", "api_base": server.base_url}
    lms = {
        "default": LmSettings(**table, api_key_env="RIGHT_KEY", retries=1, timeout=5),
        "wrong": LmSettings(**table, api_key_env="WRONG_KEY", retries=3),
        "hasty": LmSettings(**table, api_key_env="RIGHT_KEY", retries=0, timeout=0.1),
        "other": LmSettings(model="openai/unknown-model", api_base=server.base_url, api_key_env="RIGHT_KEY"),
    }
    engine = DSPyEngine(Settings(lms=lms))
    yield engine
    await engine.close()


async def failure(engine: DSPyEngine, call: Any, **given: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await call(engine, QA, ASK, **given)
    assert caught.value.kind == "lm_error"
    return caught.value


@pytest.mark.anyio
@pytest.mark.req("FR1.3.1", "FR1.3.4")
async def test_an_answer_has_usage_and_cost_where_the_price_is_known(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    server.push(ANSWER, ANSWER)
    result = await call(engine, QA, ASK, config={"temperature": 0.5, "max_tokens": 99})
    assert result.outputs == {"answer": "yes"}
    assert (result.usage["prompt_tokens"], result.usage["completion_tokens"]) == (7, 3)
    assert result.cost is not None
    assert 0 < result.cost < 0.001
    body = server.exchanges[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-4o-mini", 0.5, 99)
    assert (await call(engine, QA, ASK, lm="other")).cost is None


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3", "NFR1.1.4")
@pytest.mark.parametrize("adapter", ["chat", "json", "xml"])
async def test_a_stream_gives_tokens_and_the_same_prediction(
    engine: DSPyEngine, server: OpenAIServer, call: Any, adapter: str
) -> None:
    server.push(Behaviour(fields={"answer": "one two three four five"}, usage=(7, 5)))
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    result = await call(engine, QA, ASK, emit=emit, adapter=adapter)
    assert "".join(event["text"] for event in events) == "one two three four five" == result.outputs["answer"]
    assert len(events) > 2
    assert result.usage["total_tokens"] == 12
    assert server.exchanges[0].body["stream"] is True


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "retryable"), [(400, False), (403, False), (404, False), (500, True), (503, True)])
async def test_refusals_keep_status_and_the_server_s_words(
    engine: DSPyEngine, server: OpenAIServer, call: Any, status: int, retryable: bool
) -> None:
    server.push(Behaviour(status=status, times=2, retry_after=0))
    error = await failure(engine, call)
    assert (error.details["status"], error.details["provider"], error.retryable) == (status, "openai", retryable)
    assert server.left == (0 if retryable else 1)


@pytest.mark.anyio
async def test_a_wrong_key_is_said_without_the_key_and_not_tried_again(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    error = await failure(engine, call, lm="wrong")
    assert error.details["status"] == 401
    assert "secret" not in str(error.to_object())


@pytest.mark.anyio
@pytest.mark.req("NFR2.2.1")
@pytest.mark.parametrize("before", ["", "x " * 248, "x " * 297])
@pytest.mark.parametrize("key", ["gsk.Unusual/+key=0815", "qwertyui", "or:v1 (with brackets)"])
async def test_a_key_of_any_form_that_the_provider_echoes_is_hidden(
    call: Any, monkeypatch: pytest.MonkeyPatch, key: str, before: str
) -> None:
    monkeypatch.setenv("ECHOED_KEY", key)
    echo = {"message": f"{before}The key {key} is wrong", "code": f"wrong:{key}"}
    async with OpenAIServer(default=Behaviour(status=401, error=echo)) as server:
        lm = LmSettings("openai/any", api_key_env="ECHOED_KEY", api_base=server.base_url, retries=0)
        engine = DSPyEngine(Settings(lms={"default": lm}))
        error = await failure(engine, call)
        await engine.close()
    assert error.details["status"] == 401
    for told in (str(error.to_object()), str(shown({"messages": [f"my key is {key}"]}))):
        assert key not in told
        assert key[:6] not in told


@pytest.mark.anyio
async def test_the_rate_limit_is_waited_for_as_the_server_says(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    server.push(Behaviour(status=429, retry_after=0.2), ANSWER)
    before = time.monotonic()
    assert (await call(engine, QA, ASK)).outputs == {"answer": "yes"}
    assert time.monotonic() - before >= 0.2
    server.push(Behaviour(status=429, retry_after=0, times=2))
    assert (await failure(engine, call)).retry_after == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "stream"),
    [
        (Behaviour(disconnect=True), False),
        (Behaviour(disconnect=True), True),
        (Behaviour(fields={"answer": "yes"}, truncate=60), False),
        (Behaviour(text="no form at all"), False),
        (Behaviour(text="no form at all"), True),
    ],
)
async def test_broken_answers_are_lm_errors_and_the_next_call_works(
    engine: DSPyEngine, server: OpenAIServer, call: Any, broken: Behaviour, stream: bool
) -> None:
    server.push(broken, broken)

    async def emit(_event: dict[str, Any]) -> None:
        pass

    await failure(engine, call, **({"emit": emit} if stream else {}))
    server.reset()
    server.push(ANSWER)
    assert (await call(engine, QA, ASK)).outputs == {"answer": "yes"}


@pytest.mark.anyio
@pytest.mark.parametrize("half", [False, True])
async def test_a_stream_that_is_cut_is_an_lm_error(
    engine: DSPyEngine, server: OpenAIServer, call: Any, half: bool
) -> None:
    server.push(Behaviour(fields={"answer": "one two three four"}, cut_after=6, half_event=half, times=2))
    events: list[Any] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    await failure(engine, call, emit=emit)


@pytest.mark.anyio
async def test_a_server_that_stalls_is_given_up_in_time(engine: DSPyEngine, server: OpenAIServer, call: Any) -> None:
    server.push(Behaviour(stall=True))
    error = await failure(engine, call, lm="hasty")
    assert (error.details["code"], error.retryable) == ("timeout", True)
    server.push(Behaviour(fields={"answer": "one two three four"}, stall_after=3))

    async def emit(_event: dict[str, Any]) -> None:
        pass

    assert (await failure(engine, call, lm="hasty", emit=emit)).details["code"] == "timeout"


@pytest.mark.anyio
async def test_no_server_is_an_lm_error_that_may_pass(server: OpenAIServer, call: Any) -> None:
    await server.stop()
    lms = {"default": LmSettings(model="openai/x", api_base=server.base_url, retries=0)}
    error = await failure(DSPyEngine(Settings(lms=lms)), call)
    assert (error.retryable, error.details["code"]) == (True, "transport")


@pytest.mark.anyio
@pytest.mark.req("OWN-1", "OWN-4")
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_drops_the_request_at_once(
    engine: DSPyEngine, server: OpenAIServer, call: Any, stream: bool
) -> None:
    server.push(Behaviour(endless=True, pace=0.01, fields={"answer": "on and on"}) if stream else Behaviour(stall=True))
    first = asyncio.Event()

    async def emit(_event: dict[str, Any]) -> None:
        first.set()

    running = asyncio.ensure_future(call(engine, QA, ASK, **({"emit": emit} if stream else {})))
    await server.until(requests=1)
    if stream:
        await first.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (exchange,) = await server.until(requests=1, disconnects=1, within=5)
    assert exchange.disconnected.is_open


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_the_server_sees_the_disconnect_within_100_ms(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    delays: list[float] = []
    while len(delays) < DISCONNECT_TRIES and min(delays, default=1.0) >= DISCONNECT_PROMISE_S:
        server.reset()
        server.push(Behaviour(stall=True))
        running = asyncio.ensure_future(call(engine, QA, ASK))
        await server.until(requests=1)
        cancelled_at = time.monotonic()
        running.cancel()
        (exchange,) = await server.until(requests=1, disconnects=1)
        assert exchange.disconnected.opened_at is not None
        delays.append(exchange.disconnected.opened_at - cancelled_at)
        await asyncio.wait([running])
    assert min(delays) < DISCONNECT_PROMISE_S, delays


@pytest.mark.anyio
@pytest.mark.req("NFR1.2.2", "OWN-2")
async def test_a_hundred_calls_wait_for_the_lm_together(engine: DSPyEngine, server: OpenAIServer, call: Any) -> None:
    server.push(Behaviour(stall=True, times=100, fields={"answer": "yes"}))
    calls = [asyncio.ensure_future(call(engine, QA, ASK)) for _ in range(100)]
    await server.until(requests=100)
    server.release()
    assert [result.outputs for result in await asyncio.gather(*calls)] == [{"answer": "yes"}] * 100


@pytest.mark.anyio
@pytest.mark.req("FR1.3.4")
async def test_attempts_are_told_to_whoever_observes_without_prompts_and_answers(
    engine: DSPyEngine, server: OpenAIServer
) -> None:
    told: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def observe(name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        told.append((name, measurements, metadata))

    server.push(Behaviour(status=503, retry_after=0), ANSWER)
    program = engine.compile({"format": 1, "kind": "predict", "signature": QA})
    await program.call(ASK, CallOptions(), CallContext("1", observe=observe))
    assert [(name, metadata["model"], metadata["attempt"]) for name, _, metadata in told] == [
        ("lm.exception", "openai/gpt-4o-mini", 0),
        ("lm.stop", "openai/gpt-4o-mini", 1),
    ]
    assert all(measurements["duration_ms"] > 0 for _, measurements, _ in told)
    assert told[1][1]["total_tokens"] == 10


@pytest.mark.anyio
@pytest.mark.req("NFR5.1.2")
async def test_images_and_conversations_reach_the_provider_in_its_own_form(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    server.push(ANSWER)
    inputs = {
        "picture": b"\x89PNG\r\n\x1a\n",
        "history": [{"question": "before?", "answer": "then"}],
        "question": "now?",
    }
    await call(engine, "picture: dspy.Image, history: dspy.History, question -> answer", inputs)
    messages = server.exchanges[0].body["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    images = [part["image_url"]["url"] for part in messages[-1]["content"] if part["type"] == "image_url"]
    assert images == ["data:image/png;base64,iVBORw0KGgo="]


@pytest.mark.anyio
async def test_servers_and_keys_of_one_model_never_share_an_answer(call: Any) -> None:
    async with OpenAIServer() as first, OpenAIServer() as second:
        lms = {
            "one": LmSettings(model="openai/gpt-4o-mini", api_base=first.base_url),
            "two": LmSettings(model="openai/gpt-4o-mini", api_base=second.base_url),
        }
        engine = DSPyEngine(Settings(lms=lms))
        for server, answer in ((first, "first"), (second, "second")):
            server.push(Behaviour(fields={"answer": answer}, times=2))
        asked = [(await call(engine, QA, ASK, lm=name)).outputs["answer"] for name in ("one", "two", "one", "two")]
        assert asked == ["first", "second", "first", "second"]
        assert (len(first.exchanges), len(second.exchanges)) == (2, 2)
        await engine.close()
