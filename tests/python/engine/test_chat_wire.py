"""Answers of chat completions servers, in one piece and as events."""

import email.utils
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.lms.chat_errors import retry_after, status_error
from python_bridge.engine.lms.chat_stream import MAX_STREAM, StreamReader
from python_bridge.engine.lms.engines import wire_for
from python_bridge.engine.lms.pricing import price_tokens
from python_bridge.errors import BridgeError
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_server import OpenAIServer


def event(**delta: Any) -> bytes:
    finish = delta.pop("finish", None)
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}) + b"\n\n"


EVENTS = b"".join(
    [
        b": a comment\n\nevent: message\n",
        event(role="assistant", content=""),
        event(reasoning_content="let me see"),
        event(content="Grüße, "),
        event(content="Welt"),
        event(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "find", "arguments": '{"q":'}}]),
        event(tool_calls=[{"index": 0, "function": {"arguments": ' "x"}'}}]),
        b'data: {"choices": [{"index": 1, "delta": {"content": "another candidate"}}]}\n\n',
        event(finish="stop"),
        b'data: {"choices": [], "model": "m-1", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n',
        b"data: [DONE]\n\n",
    ]
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=40))
def test_events_in_any_portions_give_text_message_usage_and_model(sizes: list[int]) -> None:
    reader, data, text = StreamReader("x"), EVENTS, ""
    for size in [*sizes, len(data)]:
        text += reader.feed(data[:size])
        data = data[size:]
    message, usage, model = reader.finish()
    assert text == message["content"] == "Grüße, Welt"
    assert message["reasoning_content"] == "let me see"
    assert message["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"q": "x"}'}
    assert (usage["completion_tokens"], model) == (4, "m-1")


@pytest.mark.parametrize("data", [b"data: {nonsense\n", b"data: 5\n", b'data: {"choices": 5}\n'])
def test_events_that_are_no_chunks_are_errors_of_the_server(data: bytes) -> None:
    with pytest.raises(lm15.ServerError, match="no chunk"):
        StreamReader("x").feed(data)


def test_an_error_within_the_stream_is_raised_with_the_server_s_words() -> None:
    data = b'data: {"error": {"message": "too much", "code": "insufficient_quota"}}\n'
    with pytest.raises(lm15.BillingError, match="too much"):
        StreamReader("x").feed(data)


def test_a_stream_without_an_end_is_no_answer() -> None:
    reader = StreamReader("x")
    reader.feed(event(content="half"))
    with pytest.raises(lm15.StreamAssemblyError):
        reader.finish()


def test_a_stream_that_never_ends_is_an_error_before_it_fills_the_memory() -> None:
    reader = StreamReader("openai")
    event = b'data: {"choices": [{"delta": {"reasoning_content": "' + b"x" * 1_000_000 + b'"}}]}\n\n'
    for _ in range(MAX_STREAM // len(event)):
        reader.feed(event)
    with pytest.raises(lm15.ServerError, match="longer than"):
        reader.feed(event)


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (400, b'{"error": {"message": "long", "code": "context_length_exceeded"}}', lm15.ContextLengthError),
        (400, b"plain words", lm15.InvalidRequestError),
        (401, b'{"detail": "who?"}', lm15.AuthError),
        (404, b'{"error": "no such model"}', lm15.UnsupportedModelError),
        (418, b"", lm15.InvalidRequestError),
        (302, b"", lm15.ProviderError),
        (429, b'{"error": {"message": "slow", "type": "requests"}}', lm15.RateLimitError),
        (504, b"", lm15.TimeoutError),
        (520, b"\xff\xfe", lm15.ServerError),
    ],
)
def test_each_status_has_its_error(status: int, content: bytes, kind: Any) -> None:
    error = status_error(status, {"x-request-id": "r1"}, content, "openai")
    assert type(error) is kind
    assert (error.status, error.request_id, error.provider) == (status, "r1", "openai")  # type: ignore[attr-defined]


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == 0
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after(date) or 0) <= 100
    assert [retry_after(value) for value in (None, "soon", "nan", "inf")] == [None] * 4


def test_prices_are_those_of_known_models_only() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
    assert (price_tokens("openai", "gpt-4o-mini", "gpt-4o-mini", usage) or 0) > 0
    assert price_tokens("openai", "home-made", "home-made", usage) is None
    assert price_tokens("openai", "gpt-4o-mini", "gpt-4o-mini", {}) is None


def test_only_openai_s_api_goes_over_the_wire_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wire_for(LmSettings(model="openai/x"), "k") is not None
    assert wire_for(LmSettings(model="anthropic/claude"), "k") is None
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:1")
    assert wire_for(LmSettings(model="openai/x"), "k") is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wrong",
    [
        LmSettings(model="openai/x", api_base="nonsense"),
        LmSettings(model="openai/"),
        LmSettings(model="openai/o3-mini", temperature=0.2),
        LmSettings(model=""),
    ],
)
async def test_settings_of_which_no_lm_can_be_made_are_an_lm_error_that_names_it(call: Any, wrong: LmSettings) -> None:
    with pytest.raises(BridgeError, match="'default' cannot be made") as caught:
        await call(DSPyEngine(Settings(lms={"default": wrong})), "q -> a", {"q": "?"})
    assert (caught.value.kind, caught.value.details["code"]) == ("lm_error", "configuration")


@pytest.mark.anyio
async def test_models_that_reason_get_the_limit_under_the_name_they_know(call: Any) -> None:
    async with OpenAIServer() as server:
        server.push(Behaviour(fields={"a": "x"}))
        engine = DSPyEngine(Settings(lms={"default": LmSettings(model="openai/o3-mini", api_base=server.base_url)}))
        await call(engine, "q -> a", {"q": "?"}, config={"max_tokens": 20_000})
        body = server.exchanges[0].body
        await engine.close()
    assert body["max_completion_tokens"] == 20_000
    assert "max_tokens" not in body
