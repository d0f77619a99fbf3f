"""Sentences and their ranking."""

import math

import pytest

from python_bridge.engine.offline.bm25 import Index, split_sentences
from python_bridge.engine.offline.evidence import passages_of, question_field
from python_bridge.engine.offline.field_types import type_schema


def test_sentences_end_where_a_reader_would_end_them() -> None:
    text = 'Dr. Moss left at 3.30 p.m. on foot. "Why?" asked J. Hale. It cost 4.20 euros!'
    assert [sentence for sentence, _ in split_sentences(text)] == [
        "Dr. Moss left at 3.30 p.m. on foot.",
        '"Why?" asked J. Hale.',
        "It cost 4.20 euros!",
    ]


def test_headings_belong_to_the_sentences_below_them() -> None:
    assert split_sentences("# Lamp\n\nIt burns.\n\n## Oil\n- one tank\n- two cans") == [
        ("It burns.", "Lamp"),
        ("- one tank", "Oil"),
        ("- two cans", "Oil"),
    ]


def test_the_score_is_that_of_the_formula() -> None:
    index = Index(["Red mill. Red red boat. Green hill."])
    ranked = index.rank("red boat")
    idf = {"red": math.log(1 + 1.5 / 2.5), "boat": math.log(1 + 2.5 / 1.5)}
    average = 7 / 3

    def part(count: int, length: int) -> float:
        return count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / average))

    assert [match.sentence.text for match in ranked] == ["Red red boat.", "Red mill."]
    assert ranked[0].score == pytest.approx(idf["red"] * part(2, 3) + idf["boat"] * part(1, 3))
    assert ranked[1].score == pytest.approx(idf["red"] * part(1, 2))
    assert ranked[0].coverage == pytest.approx(1.0)


def test_an_empty_text_ranks_nothing() -> None:
    assert Index([""]).rank("red") == []


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ('["one", "two"]', ["one", "two"]),
        ('{"title": "Mill", "tags": ["a"]}', ["title: Mill", "tags: a"]),
        ("[1] «one»\n[2] «««\n    two\n»»»", ["one", "two"]),
        ("[not json", ["[not json"]),
        ("   ", []),
    ],
)
def test_passages_are_found_in_each_form_of_input(value: str, texts: list[str]) -> None:
    assert passages_of(value) == texts


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"context": "c", "question": "a much longer question"}, "question"),
        ({"text": "long text here", "ask": "Why is this so very long?"}, "ask"),
        ({"text": "long text", "aim": "short"}, "aim"),
        ({}, ""),
    ],
)
def test_the_field_that_asks_is_recognised(inputs: dict[str, str], name: str) -> None:
    assert question_field(inputs) == name


@pytest.mark.parametrize(
    ("spelling", "schema"),
    [
        (
            "list[dict[str, int]]",
            {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "integer"}}},
        ),
        ("Literal['a, b', \"c]\"]", {"enum": ["a, b", "c]"]}),
        ("Union[str, NoneType]", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ("Building", {}),
        ("Literal[__import__('os')]", {"enum": []}),
    ],
)
def test_spelt_types_become_schemas_and_nothing_is_evaluated(spelling: str, schema: dict[str, object]) -> None:
    assert type_schema(spelling) == schema


def test_a_hundred_thousand_abbreviations_are_one_sentence() -> None:
    # Takes minutes when the sentence is built up piece by piece.
    assert len(split_sentences("A.\n" * 100_000)) == 1
