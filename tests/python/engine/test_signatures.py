"""Signature text: what is read, what is refused, and that nothing of it is ever imported or evaluated."""

import datetime
import sys
import typing
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, create_model

from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.describe import describe_fields
from python_bridge.engine.signatures.spec import spec_from_text
from python_bridge.errors import BridgeError


def built(text: str, **registered: type) -> Any:
    return build_signature(spec_from_text(text, None, registered))


def refusal(text: str, **registered: type) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        built(text, **registered)
    assert caught.value.kind == "signature_error"
    return caught.value


@pytest.mark.req("FR1.2.3")
def test_types_are_those_that_were_written() -> None:
    signature = built(
        "q, d: datetime.date, tags: list[str] | None, table: dict[str, list[int]] -> "
        "label: Literal['a', 1, None], pair: tuple[int, ...], best: Optional[float], any"
    )
    annotations = {name: info.annotation for name, info in signature.fields.items()}
    assert annotations == {
        "q": str,
        "d": datetime.date,
        "tags": typing.Optional[list[str]],  # noqa: UP045
        "table": dict[str, list[int]],
        "label": typing.Literal["a", 1, None],
        "pair": tuple[int, ...],
        "best": typing.Optional[float],  # noqa: UP045
        "any": str,
    }
    assert [*signature.input_fields] == ["q", "d", "tags", "table"]


@pytest.mark.req("OWN-9")
@pytest.mark.parametrize(
    "name",
    [
        "os.system", "antigravity.Thing", "antigravity", "__import__('os')", "pydantic.ImportString",
        "typing.ForwardRef",
        "int.__class__", "dspy.__doc__", "list.__class__[0]", "datetime.datetime.now", "sys.modules",
        "typing.typing.Any",
        "lambda: 1", "dspy.settings", "builtins.eval", "uuid", "collections.OrderedDict", "Callable[..., int]", "type",
    ],
)  # fmt: skip
def test_names_that_are_not_in_the_table_are_refused_and_nothing_is_imported(name: str) -> None:
    sys.modules.pop("antigravity", None)
    refusal(f"x: {name} -> y")
    assert "antigravity" not in sys.modules


@pytest.mark.req("OWN-9")
def test_types_of_the_caller_s_frames_are_not_found() -> None:
    class Secret:
        """A class in the frame of the caller: DSPy's own parser would take it."""

    error = refusal("x: Secret -> y")
    assert Secret.__name__ in error.message


def test_the_message_shows_the_text_a_caret_and_a_suggestion() -> None:
    error = refusal("question: strng -> answer")
    lines = error.message.splitlines()
    assert lines[2] == "    question: strng -> answer"
    assert lines[3] == "              ^^^^^"
    assert "Did you mean `str`?" in error.message
    assert error.details == {"offset": 10, "length": 5, "suggestion": "Did you mean `str`?"}


def test_the_caret_stands_in_the_right_line_and_keeps_tabs() -> None:
    lines = refusal("a,\n\tb: nope -> c").message.splitlines()
    assert lines[2:4] == ["    \tb: nope -> c", "    \t   ^^^^"]


def test_control_characters_are_shown_and_not_sent_to_the_terminal() -> None:
    error = refusal("a: \x1b[31mnope\x07\r\x9b -> c")
    assert not {"\x1b", "\x07", "\r", "\x9b"} & set(error.message + str(error.details["suggestion"]))
    shown, carets = error.message.splitlines()[2:4]
    assert shown == "    a: ␛[31mnope␇␍� -> c"
    assert shown[carets.index("^")] == "␛"


def test_a_long_line_is_cut_around_the_place() -> None:
    text = ", ".join(f"field{index}" for index in range(200)) + ", bad: nope -> y"
    shown, carets = refusal(text).message.splitlines()[2:4]
    assert len(shown) < 200
    assert shown[carets.index("^") :].startswith("nope")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a b -> c", "is not expected here"),
        ("a -> b -> c", "exactly one `->`"),
        ("a", "needs one `->`"),
        ("x = 1 -> y", "no default values"),
        ("*args -> y", "dropped silently"),
        ("x, x -> y", "stands twice"),
        ("x -> x", "stands twice"),
        ("class -> y", "word of Python"),
        ("_x -> y", "begin with `_`"),
        ("x: list[int -> y", "not closed"),
        ("x: 'a -> y", "not closed"),
        ("x: list[int, str] -> y", "takes 1 type argument"),
        ("x: dict[str] -> y", "takes 2 type arguments"),
        ("x: int[str] -> y", "takes no type arguments"),
        ("x: Literal[int] -> y", "a literal holds"),
        ("x: Literal['\\x'] -> y", "wrong escape"),
        ("x: 0123 -> y", "leading zeros"),
        ("x: f'a' -> y", "prefix `f`"),
        ("fields -> y", "cannot be used"),
        ("x: " + "list[" * 40 + "int" + "]" * 40 + " -> y", "nested deeper"),
        ("x: dspy.Code[5] -> y", "name of a language"),
        ("x: Annotated[int] -> y", "at least one constraint"),
        ("x: Annotated[int, Field(default=3)] -> y", "no option `default`"),
        ("x: Annotated[int, Field(ge='a', le)] -> y", "`=` is missing"),
        ("x: Union[()] -> y", "at least one type"),
    ],
)
def test_what_is_wrong_is_said(text: str, part: str) -> None:
    error = refusal(text)
    assert part in error.message
    assert "^" in error.message


def test_registered_types_win_over_builtin_names() -> None:
    class Date(dspy.Signature):
        """Not a signature here, just a class."""

    from pydantic import BaseModel

    class Text(BaseModel):
        content: str

    assert built("x: Text -> y", Text=Text).fields["x"].annotation is Text
    assert Date.__name__ == "Date"


def test_names_that_shadow_attributes_of_the_class_give_no_warning() -> None:
    assert [*built("schema, copy -> json, dict").fields] == ["schema", "copy", "json", "dict"]


_NAMES = st.sampled_from(["a", "question", "URL2", "snake_case", "été", "type"])
_TYPES = st.recursive(
    st.sampled_from(["int", "str", "float", "bool", "Any", "datetime.date", "Literal['x', 2]", "dspy.Image", "list"]),
    lambda inner: st.one_of(
        inner.map("list[{}]".format),
        inner.map("Optional[{}]".format),
        st.tuples(inner, inner).map(lambda pair: f"dict[{pair[0]}, {pair[1]}]"),
        st.tuples(inner, inner).map(" | ".join),
    ),
    max_leaves=4,
)
_FIELD = st.tuples(_NAMES, st.none() | _TYPES).map(lambda pair: pair[0] if pair[1] is None else f"{pair[0]}: {pair[1]}")


@st.composite
def texts(draw: st.DrawFn) -> str:
    fields = draw(st.lists(_FIELD, min_size=1, max_size=4, unique_by=lambda field: field.partition(":")[0]))
    cut = draw(st.integers(0, len(fields)))
    return f"{', '.join(fields[:cut])} -> {', '.join(fields[cut:])}"


@pytest.mark.req("NFR5.1.3")
@settings(max_examples=60, deadline=None)
@given(texts())
def test_what_is_read_equals_what_dspy_reads(text: str) -> None:
    ours, theirs = built(text), dspy.Signature(text, custom_types={})
    for role in ("input", "output"):
        assert describe_fields(ours, role) == describe_fields(theirs, role)
    assert ours.instructions == theirs.instructions


@pytest.mark.req("OWN-9")
@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab1_:,->[]()|.'\"= \n\\#*intsrLeal", max_size=40))
def test_any_text_gives_a_signature_or_a_signature_error(text: str) -> None:
    assert outcome(text) in (None, ("signature_error", True))


def outcome(text: str) -> tuple[str, bool] | None:
    try:
        spec_from_text(text)
    except BridgeError as error:
        return error.kind, "^" in error.message
    return None


@pytest.mark.req("NFR5.1.3")
@pytest.mark.parametrize(
    "literal",
    [
        r"'a\tb'",
        r"'\x41\u00e9\U0001F600'",
        r"'\101'",
        r"'it\'s'",
        r"r'a\nb'",
        "'a' 'b'",
        "'''a'b'''",
        r"'\N{BULLET}'",
        r"b'\x00a'",
        r"rb'\n'",
        "1_000",
        "0x1f",
        "0b11",
        "0o17",
        "1.5",
        "1e3",
        ".5",
        "5.",
        "None",
        "True",
        "('a', 'b')",
        "'a\\\nb'",
        "u'x'",
    ],
)
def test_literals_are_read_as_python_reads_them(literal: str) -> None:
    text = f"x -> y: Literal[{literal}]"
    assert built(text).fields["y"].annotation == dspy.Signature(text, custom_types={}).fields["y"].annotation


@pytest.mark.parametrize(
    "text",
    [
        "x -> y: Literal['\\u00']",
        "x -> y: Literal['\\N{nope}']",
        "x -> y: Literal['a\nb']",
        "x -> y: Literal['a' b'b']",
        "x: list[int] [0] -> y",
        "x: . -> y",
        "x: datetime. -> y",
        "x: list[int str] -> y",
        "x: Annotated[int, str] -> y",
        "x: Annotated[int, Field(5)] -> y",
        "x: Annotated[int, Field(ge=int)] -> y",
        "x: Annotated[int, Field(ge=1 le=2)] -> y",
        "x: Annotated[int, Field(ge='a')] -> y",
        "x: 1x -> y",
        "x: 1.2.3 -> y",
        "x: list['nope'] -> y",
        "x: list[1] -> y",
        "x: (int, str) -> y",
        "x: [int] -> y",
        "x: int[str] -> y",
        "x: typing -> y",
        "x: list[[int]] -> y",
        "x: for -> y",
    ],
)
def test_odd_types_are_refused_with_a_caret(text: str) -> None:
    assert "^" in refusal(text).message


class Branch(BaseModel):
    """A model that holds itself."""

    leaves: list["Branch"] = []


def test_no_program_can_change_a_registered_model_for_the_others() -> None:
    before = TypeAdapter(Branch).json_schema()
    registered = {"Branch": Branch, "Leaf": create_model("Leaf", name=(str, ...))}
    with pytest.raises(BridgeError, match="holds itself"):
        build_signature(spec_from_text("x -> y: list[Annotated[Branch, Field(title='mine')]]", None, registered))
    build_signature(spec_from_text("x -> y: list[Annotated[Leaf, Field(title='mine')]], z: Branch", None, registered))
    assert TypeAdapter(Branch).json_schema() == before
    assert TypeAdapter(registered["Leaf"]).json_schema()["title"] == "Leaf"
