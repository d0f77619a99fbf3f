"""The OpenAI-compatible server, used over a real socket by `dspy.LM`."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import dspy
import httpx
import pytest

from python_bridge.testing import Behaviour, OpenAIServer

CONTEXT = "The tower was built in 1874. The lamp burns oil from the store on the east rock."
ASKED = {"context": CONTEXT, "question": "What does the lamp burn?"}
BURNS = "The lamp burns oil from the store on the east rock."


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


def lm_of(server: OpenAIServer, **options: Any) -> dspy.LM:
    options = {"api_key": "sk-secret", "cache": False, "num_retries": 0, **options}
    return dspy.LM("openai/extractive", api_base=server.base_url, **options)


def ask(lm: dspy.LM, adapter: Any = None, **inputs: Any) -> Any:
    with dspy.context(lm=lm, adapter=adapter or dspy.ChatAdapter(use_json_adapter_fallback=False), track_usage=True):
        return dspy.Predict("context, question -> answer, confidence: float")(**(inputs or ASKED))


async def stream(lm: dspy.LM, seen: list[Any], arrived: asyncio.Event | None = None) -> None:
    listener = dspy.streaming.StreamListener("answer")
    program = dspy.streamify(dspy.Predict("context, question -> answer"), stream_listeners=[listener])
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter(use_json_adapter_fallback=False)):
        async for item in program(**ASKED):
            seen.append(item)
            if arrived is not None:
                arrived.set()


def root_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@pytest.mark.parametrize(
    "adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()], ids=lambda a: type(a).__name__
)
def test_a_call_is_answered_with_usage(server: OpenAIServer, adapter: Any) -> None:
    prediction = ask(lm_of(server), adapter)
    assert prediction.answer == BURNS
    (usage,) = prediction.get_lm_usage().values()
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 50


def test_what_came_is_recorded_and_the_key_is_not(server: OpenAIServer) -> None:
    ask(lm_of(server, temperature=0.25))
    (exchange,) = server.wait_for(requests=1)
    exchange.finished.wait()
    assert exchange.path == "/v1/chat/completions"
    assert exchange.body["temperature"] == 0.25
    assert exchange.body["messages"][-1]["role"] == "user"
    assert exchange.headers["authorization"] == "[redacted]"
    assert "sk-secret" not in json.dumps(exchange.to_json())
    assert not exchange.disconnected.is_open


@pytest.mark.parametrize(
    ("behaviour", "error", "attributes"),
    [
        (Behaviour(status=401), dspy.LMAuthError, {"status": 401}),
        (Behaviour(status=429, retry_after=1.5), dspy.LMRateLimitError, {"status": 429, "retry_after": 1.5}),
        (Behaviour(status=500), dspy.LMServerError, {"status": 500}),
        (Behaviour(status=503), dspy.LMServerError, {"status": 503}),
        (Behaviour(status=429, error={"code": "insufficient_quota"}), dspy.LMBillingError, {}),
        (
            Behaviour(status=400, error={"code": "context_length_exceeded", "message": "maximum context length"}),
            dspy.ContextWindowExceededError,
            {},
        ),
    ],
    ids=["401", "429", "500", "503", "quota", "context"],
)
def test_error_answers_become_dspys_errors(
    server: OpenAIServer, behaviour: Behaviour, error: type[Exception], attributes: dict[str, Any]
) -> None:
    server.push(behaviour)
    with pytest.raises(error) as caught:
        ask(lm_of(server))
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


def test_a_wrong_key_is_refused_before_the_script_is_used() -> None:
    with OpenAIServer(token="sk-right") as server:
        server.push(Behaviour(fields={"answer": "in", "confidence": 1.0}))
        with pytest.raises(dspy.LMAuthError):
            ask(lm_of(server, api_key="sk-wrong"))
        assert server.left == 1
        assert ask(lm_of(server, api_key="sk-right")).answer == "in"


def test_a_retry_gets_the_next_answer(server: OpenAIServer) -> None:
    server.push(Behaviour(status=500, retry_after=0.01, times=2))
    assert ask(lm_of(server, num_retries=2)).answer == BURNS
    assert len(server.exchanges) == 3


@pytest.mark.parametrize(
    "behaviour", [Behaviour(disconnect=True), Behaviour(truncate=40), Behaviour(text="no markers")], ids=str
)
def test_broken_answers_are_errors(server: OpenAIServer, behaviour: Behaviour) -> None:
    server.push(behaviour)
    with pytest.raises((dspy.LMError, dspy.utils.exceptions.AdapterParseError)):
        ask(lm_of(server))
    assert ask(lm_of(server)).answer == BURNS


def test_a_server_that_stalls_runs_into_the_clients_timeout(server: OpenAIServer) -> None:
    server.push(Behaviour(stall=True))
    with pytest.raises((dspy.LMTimeoutError, dspy.LMTransportError)):
        ask(lm_of(server, timeout=0.3))
    (exchange,) = server.wait_for(requests=1, disconnects=1)
    assert exchange.disconnected.opened_at > exchange.at


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_a_cancelled_call_is_seen_as_a_disconnect() -> None:
    async with OpenAIServer() as server:
        server.push(Behaviour(stall=True))
        with dspy.context(lm=lm_of(server)):
            call = asyncio.create_task(dspy.Predict("context, question -> answer").acall(**ASKED))
        await server.until(requests=1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        (exchange,) = await server.until(disconnects=1)
        await exchange.finished.passed()


@pytest.mark.anyio
async def test_a_stall_ends_when_it_is_released() -> None:
    async with OpenAIServer() as server:
        server.push(Behaviour(stall=True))
        with dspy.context(lm=lm_of(server)):
            call = asyncio.create_task(dspy.Predict("context, question -> answer").acall(**ASKED))
        await server.until(requests=1)
        assert not call.done()
        server.release()
        assert (await call).answer == BURNS


@pytest.mark.anyio
async def test_a_stream_arrives_while_the_rest_is_held_back() -> None:
    async with OpenAIServer() as server:
        server.push(Behaviour(fields={"answer": " ".join(f"w{n}" for n in range(50))}, stall_after=40))
        seen: list[Any] = []
        arrived = asyncio.Event()
        task = asyncio.create_task(stream(lm_of(server), seen, arrived))
        (exchange,) = await server.until(requests=1)
        async with asyncio.timeout(30):
            await arrived.wait()
        assert not task.done()
        assert exchange.pieces <= 40
        server.release()
        await task
    assert seen[-1].answer == " ".join(f"w{n}" for n in range(50))
    assert len(seen) > 20
    assert exchange.body["stream"] is True


@pytest.mark.anyio
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(cut_after=3),
        Behaviour(cut_after=5, half_event=True),
        Behaviour(status=500),
        Behaviour(disconnect=True),
    ],
    ids=["cut", "half event", "status", "disconnect"],
)
async def test_a_broken_stream_is_an_error(behaviour: Behaviour) -> None:
    async with OpenAIServer() as server:
        server.push(behaviour)
        with pytest.raises((dspy.LMError, ExceptionGroup)) as caught:
            await stream(lm_of(server), [])
        assert isinstance(root_of(caught.value), dspy.LMError)


@pytest.mark.anyio
@pytest.mark.req("OWN-1")
async def test_an_endless_stream_ends_when_its_reader_is_cancelled() -> None:
    async with OpenAIServer() as server:
        server.push(Behaviour(fields={"answer": "again and again"}, endless=True, pace=0.001))
        arrived = asyncio.Event()
        task = asyncio.create_task(stream(lm_of(server), [], arrived))
        (exchange,) = await server.until(requests=1)
        async with asyncio.timeout(30):
            await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(disconnects=1)
        await exchange.finished.passed()


def test_tool_calls_come_in_openais_shape(server: OpenAIServer) -> None:
    server.push(Behaviour(tool_calls=({"name": "weather", "arguments": {"city": "Tolvane"}},)))
    answer = post(server, {"model": "m", "messages": [{"role": "user", "content": "?"}]}).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Tolvane"}'}


def post(server: OpenAIServer, body: Any, path: str = "/chat/completions") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with httpx.Client() as client:
        return client.post(f"{server.base_url}{path}", content=content)


def events_of(response: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_ends_with_the_usage_if_asked(server: OpenAIServer, include_usage: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": f"{CONTEXT} What does the lamp burn?"}]}
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    events = events_of(post(server, {**body, **options}))
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]]
    assert "".join(pieces) == BURNS
    assert ("usage" in events[-1]) is include_usage
    if include_usage:
        assert events[-1]["usage"] == post(server, body).json()["usage"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            {"type": "json_schema", "json_schema": {"schema": {"properties": {"year": {"type": "integer"}}}}},
            {"year": 1874},
        ),
        ({"type": "json_object"}, {"answer": "The tower was built in 1874."}),
    ],
)
def test_structured_output_is_json_of_the_schema(server: OpenAIServer, wanted: Any, expected: Any) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": f"{CONTEXT} In what year was the tower built?"}]}]
    answer = post(server, {"model": "m", "messages": messages, "response_format": wanted}).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == expected


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"{not json", "/chat/completions", 400),
        ({"messages": []}, "/chat/completions", 400),
        ({"model": "m", "messages": ["hello"]}, "/chat/completions", 400),
        ({"model": "m"}, "/embeddings", 400),
        ({"model": "m", "input": []}, "/embeddings", 400),
        ({"model": "m", "input": "x", "dimensions": 0}, "/embeddings", 400),
        ({"model": "m"}, "/moderations", 404),
    ],
)
def test_requests_it_cannot_read_are_answered_as_openai_would(
    server: OpenAIServer, body: Any, path: str, status: int
) -> None:
    response = post(server, body, path)
    assert response.status_code == status
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    "garbage", [b"\x00\x01\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
)
def test_bytes_that_are_no_request_end_their_connection_only(server: OpenAIServer, garbage: bytes) -> None:
    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(garbage)
        answer = await reader.read()
        writer.close()
        return answer

    assert b"400 Bad Request" in asyncio.run(talk())
    assert ask(lm_of(server)).answer == BURNS


def test_a_chunked_request_is_read(server: OpenAIServer) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "The mill is red. Is it?"}]}).encode()
    with httpx.Client() as client:
        response = client.post(f"{server.base_url}/chat/completions", content=iter([body[:10], body[10:]]))
    assert response.json()["choices"][0]["message"]["content"] == "The mill is red."


def test_models_are_listed(server: OpenAIServer) -> None:
    with httpx.Client() as client:
        assert client.get(f"{server.base_url}/models").json()["data"][0]["id"] == "extractive"


def test_a_taken_port_is_reported(server: OpenAIServer) -> None:
    with pytest.raises(OSError, match="address already in use"), OpenAIServer(port=server.port):
        pass


def test_waiting_for_what_does_not_come_times_out(server: OpenAIServer) -> None:
    with pytest.raises(TimeoutError, match="saw 0 requests"):
        server.wait_for(requests=1, timeout=0.01)
