"""Embedders by name: offline and behind OpenAI's API, and the searches that use them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import dspy
import pytest

from python_bridge.engine.embedders.hashed import embed
from python_bridge.engine.embedders.registry import EmbedderRegistry
from python_bridge.engine.engine import DSPyEngine
from python_bridge.errors import BridgeError
from python_bridge.settings import EmbedderSettings, LmSettings, Settings
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_server import OpenAIServer

TEXTS = ("red apples", "blue whales", "green apples", "old cars", "whale songs")
DEMOS = [{"question": text, "answer": text[:3]} for text in TEXTS]
pytestmark = [pytest.mark.anyio, pytest.mark.req("OWN-11")]


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(token="sk-right") as running:
        yield running


@pytest.fixture
async def engine(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DSPyEngine]:
    monkeypatch.setenv("RIGHT_KEY", "sk-right")
    table: dict[str, Any] = {"model": "openai/small", "api_base": server.base_url, "api_key_env": "RIGHT_KEY"}
    embedders = {
        "small": EmbedderSettings(**table, retries=1, timeout=5, batch_size=2),
        "short": EmbedderSettings(**table, dimensions=16, retries=0),
        "hasty": EmbedderSettings(**table, retries=0, timeout=0.1),
        "keyless": EmbedderSettings(model="openai/small", api_key_env="NO_SUCH_KEY"),
        "far": EmbedderSettings(model="cohere/embed"),
        "local": EmbedderSettings(model="offline/hashed", dimensions=64),
    }
    engine = DSPyEngine(Settings(lms={"default": LmSettings(model="offline/extractive")}, embedders=embedders))
    yield engine
    await engine.close()


def searching(**config: Any) -> dict[str, Any]:
    return {"kind": "knn", "signature": "question -> answer", "demos": DEMOS, "config": config}


def questions(result: Any) -> list[str]:
    return [item["question"] for item in result.outputs["examples"]]


@pytest.mark.req("NFR5.1.3")
@pytest.mark.parametrize("k", [1, 2, 5, 9])
async def test_a_search_finds_what_dspy_s_knn_finds(engine: DSPyEngine, call: Any, k: int) -> None:
    examples = [dspy.Example(**demo).with_inputs("question") for demo in DEMOS]
    theirs = dspy.KNN(k, examples, dspy.Embedder(lambda texts: embed(texts, 64), caching=False))
    for question in ("which apples", "the song of whales", "cars"):
        wanted = [example["question"] for example in theirs(question=question)]
        for name in ("local", "small"):
            found = await call(engine, searching(k=k, embedder=name), {"question": question})
            assert questions(found) == wanted


async def test_examples_are_embedded_once_in_batches_and_tokens_are_counted(
    engine: DSPyEngine, server: OpenAIServer, call: Any
) -> None:
    compiled = engine.compile({"format": 1, **searching(k=1, embedder="small")})
    results = await asyncio.gather(*(call_compiled(compiled, "blue whales") for _ in range(4)))
    assert {questions(result)[0] for result in results} == {"blue whales"}
    sizes = [len(exchange.body["input"]) for exchange in server.exchanges]
    assert sorted(sizes) == [1, 1, 1, 1, 1, 2, 2]
    assert all(result.usage["by_model"]["openai/small"]["prompt_tokens"] > 0 for result in results)
    assert all(result.usage["lm_calls"] == 0 for result in results)


async def call_compiled(compiled: Any, question: str) -> Any:
    from python_bridge.engine.interface import CallContext, CallOptions

    return await compiled.call({"question": question}, CallOptions(), CallContext("test"))


async def test_dimensions_are_asked_of_the_server(engine: DSPyEngine, server: OpenAIServer, call: Any) -> None:
    assert questions(await call(engine, searching(k=1, embedder="short"), {"question": "old cars"})) == ["old cars"]
    assert {exchange.body["dimensions"] for exchange in server.exchanges} == {16}


@pytest.mark.parametrize(
    ("broken", "retryable"),
    [
        ([Behaviour(status=401)], False),
        ([Behaviour(status=429, retry_after=0, times=2)], True),
        ([Behaviour(status=500, retry_after=0, times=2)], True),
        ([Behaviour(truncate=90, times=2)], True),
    ],
)
async def test_an_embedder_that_fails_is_an_lm_error_and_the_next_search_works(
    engine: DSPyEngine, server: OpenAIServer, call: Any, broken: list[Behaviour], retryable: bool
) -> None:
    program = searching(k=1, embedder="small")
    compiled = engine.compile({"format": 1, **program})
    server.push(*broken)
    with pytest.raises(BridgeError) as caught:
        await call_compiled(compiled, "apples")
    assert (caught.value.kind, caught.value.retryable) == ("lm_error", retryable)
    assert "sk-right" not in str(caught.value.details) + caught.value.message
    assert questions(await call_compiled(compiled, "old cars")) == ["old cars"]


async def test_an_embedder_that_stalls_is_given_up(engine: DSPyEngine, server: OpenAIServer, call: Any) -> None:
    server.push(Behaviour(stall=True))
    with pytest.raises(BridgeError, match=r"no answer within 0\.1 s"):
        await call(engine, searching(embedder="hasty"), {"question": "?"})
    await server.until(requests=1, disconnects=1)


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("none", "not_found", r"add a table \[embedders.none\]"),
        ("keyless", "lm_error", "needs the environment variable NO_SUCH_KEY"),
        ("far", "lm_error", "its model must be 'openai/…'"),
    ],
)
async def test_an_embedder_that_cannot_be_is_refused_when_the_program_is_made(
    engine: DSPyEngine, name: str, kind: str, words: str
) -> None:
    with pytest.raises(BridgeError, match=words) as caught:
        engine.compile({"format": 1, **searching(embedder=name)})
    assert caught.value.kind == kind


async def test_a_name_need_not_be_in_the_settings_for_the_offline_embedder() -> None:
    vectors = await EmbedderRegistry(Settings()).get("offline/hashed", 32)(["a fish", "a fish", ""])
    assert vectors.shape == (3, 32)
    assert (vectors[0] == vectors[1]).all()
    assert not vectors[2].any()
