"""Answers cut into pieces of any size give each field's text, as the adapter reads it."""

import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.spec import spec_from_text
from python_bridge.engine.streaming.chat import ChatSplitter
from python_bridge.engine.streaming.json import JsonSplitter
from python_bridge.engine.streaming.xml import XmlSplitter

SIGNATURE = build_signature(spec_from_text("q -> thought, answer, n: Any"))
FIELDS = ["thought", "answer", "n"]
TEXTS = st.text(alphabet='ab [#]<>/{}"\\\n\t.,:é😀', max_size=30)


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, rest = [], text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    return [*pieces, rest]


def run(splitter: Any, pieces: list[str]) -> dict[str, str]:
    """Feed all pieces; check that each field ends once and gives no more after its end."""
    texts: dict[str, str] = {}
    ended: set[str] = set()
    for triples in [*(splitter.feed(piece) for piece in pieces), splitter.finish()]:
        assert len({field for field, _, _ in triples}) == len(triples)
        for field, text, last in triples:
            assert field not in ended
            texts[field] = texts.get(field, "") + text
            if last:
                ended.add(field)
    assert ended == set(texts)
    return texts


SIZES = st.lists(st.integers(0, 12), max_size=60)


@pytest.mark.req("FR1.3.3", "OWN-4")
@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, SIZES)
def test_chat_answers_give_what_the_adapter_reads(thought: str, answer: str, sizes: list[int]) -> None:
    beginning = f"preamble\n[[ ## thought ## ]]\n{thought}\n\n[[ ## answer ## ]]\n{answer}\n"
    completion = beginning + "[[ ## n ## ]]\n1\n[[ ## completed ## ]]\n"
    read = dspy.ChatAdapter().parse(SIGNATURE, completion)
    streamed = run(ChatSplitter(FIELDS), cut(completion, sizes))
    assert {name: streamed[name].splitlines() for name in ("thought", "answer")} == {
        name: read[name].splitlines() for name in ("thought", "answer")
    }


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, SIZES)
def test_xml_answers_give_what_the_adapter_reads(thought: str, answer: str, sizes: list[int]) -> None:
    thought, answer = escape(thought, {'"': "&quot;"}), escape(answer)
    completion = f"<thought>{thought}</thought>\n<answer>\n{answer}\n</answer><n>1</n>"
    read = dspy.XMLAdapter().parse(SIGNATURE, completion)
    streamed = run(XmlSplitter(FIELDS), cut(completion, sizes))
    assert {name: streamed[name] for name in ("thought", "answer")} == {
        name: read[name] for name in ("thought", "answer")
    }


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=20), TEXTS, st.none() | st.integers() | st.lists(TEXTS) | st.dictionaries(TEXTS, TEXTS), SIZES)
def test_json_answers_give_texts_decoded_and_other_values_as_written(
    thought: str, answer: str, n: Any, sizes: list[int]
) -> None:
    completion = (
        "```json\n" + json.dumps({"thought": thought, "other": [1, {}], "answer": answer, "n": n}, indent=1) + "```"
    )
    streamed = run(JsonSplitter(FIELDS), cut(completion, sizes))
    assert (streamed["thought"], streamed["answer"]) == (thought, answer)
    assert json.loads(streamed["n"]) == n


def test_a_whole_answer_in_one_piece_gives_one_triple_a_field() -> None:
    completion = "[[ ## thought ## ]]\nhm\n\n[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
    assert ChatSplitter(FIELDS).feed(completion) == [("thought", "hm", True), ("answer", "yes", True)]
    assert JsonSplitter(FIELDS).feed('{"answer": "yes"}') == [("answer", "yes", True)]
    assert XmlSplitter(FIELDS).feed("<answer>yes</answer>") == [("answer", "yes", True)]


def test_text_goes_out_as_soon_as_it_cannot_be_a_header() -> None:
    splitter = ChatSplitter(FIELDS)
    assert splitter.feed("[[ ## answer ## ]]\nOne") == [("answer", "One", False)]
    assert splitter.feed(" two\n") == [("answer", " two", False)]
    assert splitter.feed("[[ not a header") == [("answer", "\n[[ not a header", False)]
    assert splitter.feed("\n[[ ## compl") == []
    assert splitter.feed("eted ## ]]") == [("answer", "", True)]


def test_an_open_end_is_closed_when_the_answer_is_complete() -> None:
    for splitter, text in ((XmlSplitter(FIELDS), "<answer>yes</ans"), (JsonSplitter(FIELDS), '{"answer": "yes</ans')):
        assert run(splitter, [text]) == {"answer": "yes</ans"}


def test_text_may_begin_on_the_line_of_the_header() -> None:
    assert run(ChatSplitter(FIELDS), cut("[[ ## answer ## ]] yes\n[[ ## completed ## ]]", [20, 1])) == {"answer": "yes"}


def test_a_repeated_header_counts_once() -> None:
    completion = "[[ ## answer ## ]]\nfirst\n[[ ## answer ## ]]\nsecond\n[[ ## completed ## ]]"
    assert run(ChatSplitter(FIELDS), [completion]) == {"answer": "first"}


@pytest.mark.req("FR1.3.3", "OWN-4", "OWN-7")
def test_the_pieces_that_both_languages_share_give_the_same_tokens() -> None:
    cases = json.loads((Path(__file__).parents[2] / "vectors/field_streams.json").read_text("utf-8"))["cases"]
    makers = {"json": JsonSplitter, "xml": XmlSplitter}
    for case in cases:
        splitter = makers[case["adapter"]](case["fields"])
        tokens = [[list(triple) for triple in splitter.feed(piece)] for piece in case["pieces"]]
        assert tokens == case["tokens"]
        assert [list(triple) for triple in splitter.finish()] == case["finish"]
