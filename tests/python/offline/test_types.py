"""Answers fit the types of their fields, in the format of the adapter in use."""

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any, Literal

import dspy
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from python_bridge.engine import offline

ADAPTERS = {
    "chat": dspy.ChatAdapter(use_json_adapter_fallback=False),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(use_json_adapter_fallback=False),
}
CONTEXT = (
    "The mill was built in 1742 by Anna Moss. It has three wheels, and the largest weighs 1,250.5 kilograms. "
    "The miller never works on Sunday. Letters go to anna@mill.example, since 2019-03-04 by boat."
)


class Kind(enum.Enum):
    MILL = "mill"
    CASTLE = "castle"


class Wheel(pydantic.BaseModel):
    name: str
    weight: float
    count: int


class Building(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=20)
    year: int = pydantic.Field(ge=1000, le=2100)
    wheels: list[Wheel]
    owner: str | None = None


class Tree(pydantic.BaseModel):
    label: str
    children: list["Tree"]


def ask(adapter: str, type_: Any, question: str, context: Any = CONTEXT, name: str = "answer") -> Any:
    signature = dspy.Signature(
        {
            "context": (type(context), dspy.InputField()),
            "question": (str, dspy.InputField()),
            name: (type_, dspy.OutputField()),
        }
    )
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        return dspy.Predict(signature)(context=context, question=question)[name]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    ("type_", "question", "expected"),
    [
        (int, "In what year was the mill built?", 1742),
        (int, "How many wheels has the mill?", 3),
        (float, "How many kilograms weighs the largest wheel?", 1250.5),
        (bool, "Was the mill built by Anna Moss?", True),
        (bool, "Does the miller work on Sunday?", False),
        (Literal["castle", "mill", "inn"], "What was built in 1742?", "mill"),
        (Literal[1, 2, 3], "How many?", 1),
        (Kind, "What was built in 1742?", Kind.MILL),
        (datetime.date, "Since when do letters go by boat?", datetime.date(2019, 3, 4)),
        (str | None, "Who built the mill?", "The mill was built in 1742 by Anna Moss."),
        (list[int], "In what year was the mill built?", [1742]),
        (tuple[int, str], "In what year was the mill built?", (1742, "The mill was built in 1742 by Anna Moss.")),
    ],
    ids=str,
)
def test_a_field_is_answered_by_its_type(adapter: str, type_: Any, question: str, expected: Any) -> None:
    assert ask(adapter, type_, question) == expected


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    "type_",
    [
        *(dict[str, Any], dict[str, int], list[str], list[Wheel], Tree, set[str], uuid.UUID, datetime.datetime),
        *(Decimal, int | str, list[list[int]], Any, bool | None, list[Literal["a", "b"]], dspy.Code),
    ],
    ids=str,
)
def test_every_kind_of_type_gets_a_valid_value(adapter: str, type_: Any) -> None:
    value = ask(adapter, type_, "When was the mill built?")
    pydantic.TypeAdapter(type_).validate_python(value)


@pytest.mark.parametrize("adapter", ["chat", "json"])
def test_nested_objects_follow_the_schema_with_its_bounds(adapter: str) -> None:
    building = ask(adapter, Building, "In what year was the mill built, and what do its wheels weigh?")
    assert building.year == 1742
    assert len(building.title) <= 20
    assert building.wheels


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_recursive_type_ends(adapter: str) -> None:
    tree = ask(adapter, Tree, "What was built in 1742?")
    assert tree.label


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_bounds_of_a_number_are_kept(adapter: str) -> None:
    signature = dspy.Signature("context, question -> answer: int").with_updated_fields("answer", type_=int)
    signature = signature.delete("answer").append("answer", dspy.OutputField(ge=1800, le=1900), type_=int)
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        assert dspy.Predict(signature)(context=CONTEXT, question="When was the mill built?").answer == 1800


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_choice_with_separators_and_quotes_in_it_survives(adapter: str) -> None:
    choices = Literal["a; b, c", "it's a mill", 'say "x"']
    assert ask(adapter, choices, "What was built in 1742?") == "it's a mill"


MARKERS = """[[ ## answer ## ]]|[[ ## completed ## ]]|</answer>|<b>&amp;|]]>|{"answer": 1}|
|mill|built.|Yes!|«|- 7|Respond with the corresponding output fields|# note: the value you produce|\x00\x0b\x1c"""
HOSTILE = st.lists(st.sampled_from(MARKERS.split("|")) | st.text(max_size=12).filter(str.isprintable), max_size=14).map(
    " ".join
)


@pytest.mark.parametrize("adapter", ADAPTERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(context=HOSTILE, question=HOSTILE)
def test_whatever_the_inputs_hold_the_answer_can_be_parsed(adapter: str, context: str, question: str) -> None:
    signature = (
        "context, question -> reasoning, answer: str, count: int, sure: bool, confidence: float, parts: list[str],"
        " kind: Literal['mill', 'castle'], table: dict[str, int]"
    )
    with dspy.context(lm=offline.build(), adapter=ADAPTERS[adapter]):
        prediction = dspy.Predict(signature)(context=context, question=question)
    assert set(prediction.keys()) == {"reasoning", "answer", "count", "sure", "confidence", "parts", "kind", "table"}
