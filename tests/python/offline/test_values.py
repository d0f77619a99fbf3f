"""Values fit their schemas, whatever the schema and whatever the evidence."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.engine.offline.evidence import gather
from python_bridge.engine.offline.prompt import Prompt
from python_bridge.engine.offline.values import Filler

TEXT = (
    "The ferry Lark left on 2019-03-04 at 06:30 with twelve people and 1,250.5 kilograms of mail. "
    "Write to anna@ferry.example or see https://ferry.example/lark for the boat 4f9c1a2e-0000-4000-8000-00000000002a."
)


def fill(
    schema: dict[str, Any], question: str = "When did the ferry leave?", name: str = "value", text: str = TEXT
) -> Any:
    evidence = gather(Prompt("chat", {"context": text, "question": question}))
    return Filler(evidence, schema.get("$defs", {})).fill(schema, name)


BOUNDS = st.integers(-50, 50)
LEAVES = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {}]),
    st.sampled_from(["date", "email", "uri", "uuid", "ipv4", "duration"]).map(
        lambda kind: {"type": "string", "format": kind}
    ),
    st.builds(lambda low, more: {"type": "integer", "minimum": low, "maximum": low + abs(more)}, BOUNDS, BOUNDS),
    st.builds(lambda low: {"type": "number", "exclusiveMinimum": low}, BOUNDS),
    st.builds(lambda high, step: {"type": "integer", "maximum": high, "multipleOf": abs(step) + 1}, BOUNDS, BOUNDS),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), min_size=1, max_size=4).map(
        lambda some: {"enum": some}
    ),
    st.one_of(st.integers(), st.text(max_size=3)).map(lambda one: {"const": one}),
)


def objects(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.sampled_from(["year", "name", "confidence", "parts"]), schemas, max_size=3)
    return properties.map(lambda some: {"type": "object", "properties": some, "required": list(some)})


SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        objects(inner),
        st.builds(lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 2)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda some: {"type": "array", "prefixItems": some, "minItems": len(some), "maxItems": len(some)}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    schema=SCHEMAS,
    text=st.sampled_from([TEXT, "", "No.", "3. 17, 99 and 2,000 years.", "2019-13-40 at 999.1.2.3 or 10.0.0.255."]),
)
def test_a_value_is_valid_for_its_schema(schema: dict[str, Any], text: str) -> None:
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(fill(schema, text=text))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "format": "date"}, "2019-03-04"),
        ({"type": "string", "format": "time"}, "06:30"),
        ({"type": "string", "format": "email"}, "anna@ferry.example"),
        ({"type": "string", "format": "uri"}, "https://ferry.example/lark"),
        ({"type": "string", "format": "uuid"}, "4f9c1a2e-0000-4000-8000-00000000002a"),
        ({"type": "string", "pattern": r"^\d{2}:\d{2}$"}, "06:30"),
        ({"type": "string", "pattern": "^never$"}, ""),
        ({"type": "string", "pattern": "("}, ""),
        ({"type": ["null", "integer"]}, 12),
        ({"allOf": [{"$ref": "#/$defs/Kind"}], "$defs": {"Kind": {"enum": ["ship", "ferry"]}}}, "ferry"),
    ],
    ids=str,
)
def test_what_the_text_holds_is_found_by_format_and_pattern(schema: dict[str, Any], value: Any) -> None:
    assert fill(schema, "How many people were on the ferry that left at 06:30?") == value


def test_a_pattern_that_would_hang_a_backtracking_matcher_does_not() -> None:
    assert fill({"type": "string", "pattern": "^(a+)+b$"}, "Which?", text="a" * 5000 + "! Which?") == ""


def test_a_schema_that_calls_itself_ends() -> None:
    node = {
        "type": "object",
        "properties": {"left": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}, "tags": {"type": "array"}},
        "required": ["left"],
    }
    schema = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    jsonschema_rs.validator_for(schema).validate(fill(schema))


def test_unique_items_are_unique() -> None:
    assert fill({"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}) == [2019]


def test_a_score_is_the_share_of_the_question_that_was_found() -> None:
    assert fill({"type": "number"}, "When did the ferry leave?", "confidence") > 0.5
    assert fill({"type": "number"}, "When did the purple cow jump?", "confidence") == 0.0
