"""The embedded LM over the documents of the examples."""

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge.engine import offline

EXAMPLES = Path(__file__).parents[3] / "examples"
QUESTIONS: list[dict[str, str]] = json.loads((EXAMPLES / "questions.json").read_text("utf-8"))
ADAPTERS = {
    "chat": dspy.ChatAdapter(use_json_adapter_fallback=False),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(use_json_adapter_fallback=False),
}
TYPED = "context, question -> answer: str, confidence: float, sources: list[str]"


def inputs_of(case: dict[str, str]) -> dict[str, str]:
    text = (EXAMPLES / "documents" / case["document"]).read_text("utf-8")
    return {"context": text, "question": case["question"]}


def ask(module: Any, adapter: str, case: dict[str, str]) -> Any:
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        return module(**inputs_of(case))


def test_there_are_enough_questions_and_each_names_a_document() -> None:
    assert len(QUESTIONS) >= 24
    assert len({case["question"] for case in QUESTIONS}) == len(QUESTIONS)
    assert {case["document"] for case in QUESTIONS} == {path.name for path in (EXAMPLES / "documents").iterdir()}


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: case["question"])
def test_every_expected_answer_stands_in_its_document(case: dict[str, str]) -> None:
    assert case["expect"] in " ".join(inputs_of(case)["context"].split())


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: case["question"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_predict_finds_the_expected_answer(adapter: str, case: dict[str, str]) -> None:
    prediction = ask(dspy.Predict(TYPED), adapter, case)
    assert case["expect"] in prediction.answer
    assert 0.3 <= prediction.confidence <= 0.95
    assert prediction.answer in prediction.sources


@pytest.mark.parametrize("case", QUESTIONS[::4], ids=lambda case: case["question"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_chain_of_thought_finds_it_too_and_quotes_it_in_its_reasoning(adapter: str, case: dict[str, str]) -> None:
    prediction = ask(dspy.ChainOfThought(TYPED), adapter, case)
    assert case["expect"] in prediction.answer
    assert prediction.answer in prediction.reasoning
