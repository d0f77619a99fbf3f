"""The embedded LM as DSPy sees it: usage, streaming, demos, history, agents, plain calls."""

import asyncio
import doctest
import importlib
import json
from typing import Any

import dspy
import pytest

from python_bridge.engine import offline
from python_bridge.engine.offline.pieces import count_tokens, cut

ADAPTERS = {
    "chat": dspy.ChatAdapter(use_json_adapter_fallback=False),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(use_json_adapter_fallback=False),
}
CONTEXT = "The tower was built in 1874. The lamp burns oil from the store on the east rock. Nobody lives here."


async def streamed(adapter: str, lm: Any, **inputs: Any) -> tuple[list[Any], Any]:
    listener = dspy.streaming.StreamListener("answer")
    program = dspy.streamify(dspy.Predict("context, question -> answer"), stream_listeners=[listener])
    chunks, final = [], None
    with dspy.context(lm=lm, adapter=ADAPTERS[adapter]):
        async for item in program(**inputs):
            if isinstance(item, dspy.Prediction):
                final = item
            else:
                chunks.append(item)
    return chunks, final


@pytest.mark.anyio
@pytest.mark.req("FR1.3.3")
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_a_streamed_answer_arrives_in_several_pieces(adapter: str) -> None:
    chunks, final = await streamed(
        adapter, offline.build(token_delay=0), context=CONTEXT, question="What does the lamp burn?"
    )
    assert len([chunk for chunk in chunks if chunk.chunk]) >= 5
    assert "".join(chunk.chunk for chunk in chunks).strip(' "\n') == final.answer
    assert chunks[-1].is_last_chunk


@pytest.mark.anyio
async def test_streams_with_a_delay_run_side_by_side() -> None:
    lm = offline.build(token_delay=0.02)
    loop = asyncio.get_running_loop()
    started = loop.time()
    asked = [streamed("chat", lm, context=CONTEXT, question="What does the lamp burn?") for _ in range(20)]
    results = await asyncio.gather(*asked)
    one = (
        len(cut("[[ ## answer ## ]]\nThe lamp burns oil from the store on the east rock.\n\n[[ ## completed ## ]]\n"))
        * 0.02
    )
    assert loop.time() - started < 20 * one
    assert all("burns oil" in final.answer for _, final in results)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_usage_counts_the_words_of_prompt_and_answer(adapter: str) -> None:
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter], track_usage=True):
        short = dspy.Predict("context, question -> answer")(context=CONTEXT, question="When?").get_lm_usage()
        more = dspy.Predict("context, question -> answer")(context=CONTEXT * 2, question="When?").get_lm_usage()
    usage, longer = short[offline.MODEL], more[offline.MODEL]
    assert longer["prompt_tokens"] - usage["prompt_tokens"] == count_tokens(CONTEXT)
    assert usage["completion_tokens"] > 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_demo_with_the_same_inputs_gives_its_answer(adapter: str) -> None:
    predict = dspy.Predict("context, question -> answer, count: int")
    predict.demos = [
        {"context": CONTEXT, "question": "Where?", "answer": "Over <there> & here", "count": 7},
        {"context": CONTEXT, "question": "When?", "answer": "never"},
    ]
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        assert predict(context=CONTEXT, question="Where?").toDict() == {"answer": "Over <there> & here", "count": 7}
        other = predict(context=CONTEXT, question="What does the lamp burn?")
    assert "burns oil" in other.answer


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_without_passages_the_conversation_so_far_is_searched(adapter: str) -> None:
    class Chat(dspy.Signature):
        question: str = dspy.InputField()
        history: dspy.History = dspy.InputField()
        answer: str = dspy.OutputField()

    told = [{"question": "My boat is called Perseverance.", "answer": "A fine name."}]
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        prediction = dspy.Predict(Chat)(question="How is my boat called?", history=dspy.History(messages=told))
    assert "Perseverance" in prediction.answer


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_agent_finishes_without_calling_a_tool(adapter: str) -> None:
    called: list[str] = []

    def weather(city: str) -> str:
        """Tell the weather."""
        called.append(city)
        return "rain"

    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        agent = dspy.ReAct("context, question -> answer", tools=[weather], max_iters=5)
        prediction = agent(context=CONTEXT, question="What does the lamp burn?")
    assert prediction.trajectory["tool_name_0"] == "finish"
    assert "tool_name_1" not in prediction.trajectory
    assert "burns oil" in prediction.answer
    assert called == []


def test_without_anything_to_quote_it_says_so() -> None:
    with dspy.context(lm=offline.build()):
        prediction = dspy.Predict("question -> answer, confidence: float")(question="Why?")
    assert prediction.answer == "The inputs hold no passage that answers this: Why?"
    assert prediction.confidence == 0.0


def test_a_summary_keeps_the_order_of_the_text() -> None:
    with dspy.context(lm=offline.build()):
        summary = dspy.Predict("text -> summary")(text=CONTEXT).summary
    assert summary == CONTEXT


def test_lists_of_passages_are_searched_whatever_their_form() -> None:
    passages = ["The tower was built in 1874.", "The lamp burns oil.\nIt smokes."]
    with dspy.context(lm=offline.build()):
        for signature in ("context, question -> answer", "context: list[str], question -> answer"):
            assert dspy.Predict(signature)(context=passages, question="What burns?").answer == "The lamp burns oil."


def test_a_plain_prompt_is_answered_from_its_own_text() -> None:
    assert offline.build()(f"{CONTEXT}\n\nWhat does the lamp burn?") == [
        "The lamp burns oil from the store on the east rock."
    ]


def test_messages_are_answered_without_dspy_types() -> None:
    assert (
        offline.complete([("system", "Be brief."), ("user", "The mill is red. Is the mill red?")]) == "The mill is red."
    )


def test_a_plain_prompt_with_a_schema_is_answered_in_json() -> None:
    schema = {"type": "object", "properties": {"year": {"type": "integer"}, "answer": {"type": "string"}}}
    text = offline.complete([("user", f"{CONTEXT} When was the tower built?")], schema)
    assert json.loads(text) == {"year": 1874, "answer": "The tower was built in 1874."}


@pytest.mark.anyio
async def test_hundreds_of_calls_run_at_once() -> None:
    predict = dspy.Predict("context, question -> answer")
    with dspy.context(lm=offline.build(latency=0.01)):
        calls = [predict.acall(context=f"Box {n} is green.", question=f"How is box {n}?") for n in range(200)]
        predictions = await asyncio.gather(*calls)
    assert [prediction.answer for prediction in predictions] == [f"Box {n} is green." for n in range(200)]


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        offline.build(token_delay=-1)


@pytest.mark.parametrize("module", ["bm25", "pieces"])
def test_the_examples_in_the_docs_hold(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"python_bridge.engine.offline.{module}"))
    assert results.attempted > 0
    assert results.failed == 0
