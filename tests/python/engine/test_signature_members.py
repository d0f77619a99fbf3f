"""Field lists, JSON Schemas, descriptions, constraints and registered classes."""

import datetime
import typing
from typing import Any

import dspy
import pytest

from python_bridge.engine.signatures.describe import describe_fields
from python_bridge.engine.signatures.members import SignatureFactory
from python_bridge.errors import BridgeError


def made(fields: list[dict[str, Any]], **more: Any) -> Any:
    return SignatureFactory().make({"fields": fields, **more})


def field(name: str, role: str = "output", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, **more}


def refused(member: Any) -> str:
    with pytest.raises(BridgeError) as caught:
        SignatureFactory().make(member)
    assert caught.value.kind == "signature_error"
    return caught.value.message


@pytest.mark.req("FR1.2.3")
def test_a_field_list_gives_descriptions_prefixes_and_constraints_to_dspy() -> None:
    signature = made(
        [
            field("score", type="float", constraints={"ge": 0, "le": 1}, desc="between 0 and 1"),
            field("question", "input", desc="what is asked", prefix="Q:"),
        ],
        instructions="Score it.",
        name="Scorer",
    )
    question, score = describe_fields(signature, "input")[0], describe_fields(signature, "output")[0]
    assert (question["desc"], question["prefix"]) == ("what is asked", "Q:")
    assert (score["desc"], score["constraints"]) == (
        "between 0 and 1",
        "greater than or equal to: 0, less than or equal to: 1",
    )
    assert (signature.instructions, signature.__name__) == ("Score it.", "Scorer")


@pytest.mark.req("FR1.2.3")
@pytest.mark.parametrize(
    ("schema", "annotation"),
    [
        ({"type": "string"}, str),
        ({"type": "integer", "description": "how many"}, int),
        ({"type": "array", "items": {"type": "number"}}, list[float]),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, dict[str, bool]),
        ({"enum": ["a", "b"]}, typing.Literal["a", "b"]),
        ({"const": 3}, typing.Literal[3]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, typing.Optional[int]),  # noqa: UP045
        ({"type": ["string", "null"]}, typing.Optional[str]),  # noqa: UP045
        (True, Any),
        ({}, Any),
    ],
)
def test_a_schema_that_a_python_type_says_becomes_that_type(schema: Any, annotation: Any) -> None:
    assert made([field("x", schema=schema)]).fields["x"].annotation == annotation


PERSON = {
    "type": "object",
    "title": "Person",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.req("FR1.2.3")
def test_any_other_schema_is_kept_word_for_word_and_checked() -> None:
    signature = made([field("person", schema=PERSON)])
    described = describe_fields(signature, "output")[0]
    assert (described["json_schema"], described["type"]) == (PERSON, "Person")
    parsed = dspy.ChatAdapter().parse(signature, '[[ ## person ## ]]\n{"name": "Ada", "age": 36}')
    assert parsed == {"person": {"name": "Ada", "age": 36}}
    with pytest.raises(dspy.utils.exceptions.AdapterParseError, match="-1"):
        dspy.ChatAdapter().parse(signature, '[[ ## person ## ]]\n{"name": "Ada", "age": -1}')


def test_schemas_elsewhere_are_not_fetched() -> None:
    assert "elsewhere" in refused({"fields": [field("x", schema={"$ref": "http://localhost:1/schema.json"})]})
    assert "elsewhere" in refused({"fields": [field("x", schema={"$ref": "file:///etc/passwd"})]})


@pytest.mark.parametrize(
    ("member", "part"),
    [
        ({"fields": [field("x", schema={"type": "strang"})]}, "no JSON Schema"),
        ({"fields": [field("x", schema=False)]}, "no value fits"),
        ({"fields": [field("x", type="int", schema={})]}, "give one"),
        ({"fields": [field("x", type="nope")]}, "the field `x`: the type `nope` is not known"),
        ({"fields": [field("x"), field("x", "input")]}, "stands twice"),
        ({"fields": [field("_x")]}, "cannot begin with `_`"),
        ({"fields": [field("x", constraints={"pattern": "("})]}, "pattern of `x` is wrong"),
        ({"fields": [field("x", constraints={"ge": 1})]}, "does not fit the text"),
        ({"text": "a -> b", "fields": [field("c")]}, "which the text does not have"),
    ],
)
def test_wrong_fields_are_named(member: Any, part: str) -> None:
    assert part in refused(member)


def test_text_says_names_and_types_and_fields_add_to_them() -> None:
    member = {"text": "q -> n: int", "fields": [field("n", desc="a count", constraints={"gt": 0})]}
    described = describe_fields(SignatureFactory().make(member), "output")[0]
    assert (described["type"], described["desc"], described["constraints"]) == ("int", "a count", "greater than: 0")


def test_registered_classes_go_by_name_and_only_those() -> None:
    class Summary(dspy.Signature):
        """Summarise."""

        text: str = dspy.InputField()
        summary: str = dspy.OutputField()

    factory = SignatureFactory(classes={"Summary": Summary})
    assert factory.make({"class": "Summary"}) is Summary
    assert factory.make({"class": "Summary", "instructions": "Be short."}).instructions == "Be short."
    with pytest.raises(BridgeError, match="Summary") as caught:
        factory.make({"class": "os.path"})
    assert caught.value.kind == "not_found"


@pytest.mark.req("FR1.2.3")
def test_a_default_is_a_value_of_its_type_and_each_call_has_one_of_its_own() -> None:
    signature = made(
        [
            field("loud", "input", type="bool", default=False),
            field("tags", type="list[str]", default=[]),
            field("when", type="datetime.date", default="2024-01-02"),
            field("note", type="Optional[str]", default=None),
        ]
    )
    defaults = {name: info.get_default(call_default_factory=True) for name, info in signature.fields.items()}
    assert defaults == {"loud": False, "tags": [], "when": datetime.date(2024, 1, 2), "note": None}
    assert signature.fields["tags"].get_default(call_default_factory=True) is not defaults["tags"]
    assert "`tags` does not fit its type" in refused({"fields": [field("tags", type="list[int]", default=["x"])]})
    assert signature.fields["when"].is_required() is False
