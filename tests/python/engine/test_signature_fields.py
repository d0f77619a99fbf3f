"""Signatures of programs keep their maps of fields, and are signatures as before."""

import dspy

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.signatures.fields import keep_fields
from python_bridge.settings import Settings


class Own(dspy.Signature):
    """A class of the user's."""

    q: str = dspy.InputField()
    a: str = dspy.OutputField()


def test_fields_are_those_of_dspy_and_every_look_gives_a_map_of_its_own() -> None:
    signature = dspy.Signature("b, a: int -> d: list[str], c")
    expected = dspy.Signature("b, a: int -> d: list[str], c")
    keep_fields(signature)
    keep_fields(signature)
    signature.output_fields.clear()
    assert [*signature.input_fields.items()].__repr__() == [*expected.input_fields.items()].__repr__()
    assert [*signature.fields] == ["b", "a", "d", "c"]
    assert signature.equals(expected)
    assert issubclass(signature, dspy.Signature)
    assert dspy.Predict(signature).signature is signature


def test_signatures_made_of_one_that_keeps_its_fields_have_their_own() -> None:
    signature = dspy.Signature("q -> a")
    keep_fields(signature)
    longer = signature.prepend("first", dspy.InputField()).append("last", dspy.OutputField())
    assert ([*longer.input_fields], [*longer.output_fields]) == (["first", "q"], ["a", "last"])
    assert signature.with_instructions("Otherwise.").instructions == "Otherwise."

    class Below(signature):  # type: ignore[valid-type, misc]
        more: str = dspy.OutputField()

    assert ([*Below.output_fields], [*signature.output_fields]) == (["a", "more"], ["a"])


def test_classes_of_the_users_stay_as_they_are_and_those_of_programs_keep_their_fields() -> None:
    keep_fields(Own)
    assert type(Own) is type(dspy.Signature)
    program = {"format": 1, "kind": "chain_of_thought", "signature": "q -> a"}
    built = DSPyEngine(Settings()).compile(program).built
    assert type(built.signature) is not type(dspy.Signature)
    assert [*built.signature.output_fields] == ["reasoning", "a"]
