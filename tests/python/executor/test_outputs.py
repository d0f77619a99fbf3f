"""Results are plain data, whatever a program makes."""

import datetime
import decimal
import json
import math
from typing import Any

import dspy
import numpy
import pytest
from pydantic import BaseModel

from python_bridge.testing.scripted import ScriptedLM

pytestmark = pytest.mark.req("EX-2")


class Gives(dspy.Module):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(self) -> Any:
        return self.make()


class Invoice(BaseModel):
    due: datetime.date = datetime.date(2024, 5, 1)
    amount: decimal.Decimal = decimal.Decimal("1.50")


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


def executed(make: Any, given: Any) -> Any:
    return make(ScriptedLM().lm).execute(Gives(given), inputs={})


def test_values_of_every_kind_come_out_as_data_and_as_json(make: Any) -> None:
    made = dspy.Prediction(
        invoice=Invoice(),
        amount=decimal.Decimal("0.10"),
        at=datetime.datetime(2024, 5, 1, 12),
        share=numpy.float32(0.5),
        count=numpy.int64(3),
        flag=numpy.bool_(True),
        body=b"bytes",
        missing=math.nan,
        image=dspy.Image(url="https://example.com/a.png"),
        numbers=[numpy.int64(1), (2, 3)],
        large=10**30,
    )
    result = executed(make, lambda: made)
    outputs = result.outputs
    assert math.isnan(outputs.pop("missing"))
    assert outputs == {
        "invoice": {"due": datetime.date(2024, 5, 1), "amount": "1.50"},
        "amount": "0.10",
        "at": datetime.datetime(2024, 5, 1, 12),
        "share": 0.5,
        "count": 3,
        "flag": True,
        "body": b"bytes",
        "image": "https://example.com/a.png",
        "numbers": [1, (2, 3)],
        "large": 10**30,
    }
    assert [type(outputs[name]) for name in ("share", "count", "flag")] == [float, int, bool]
    assert json.loads(result.to_json())["outputs"]["count"] == 3


def test_an_image_that_came_out_goes_in_again(make: Any) -> None:
    data = "data:image/png;base64,iVBORw0KGgo="
    result = executed(make, lambda: dspy.Prediction(image=dspy.Image(url=data)))
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    assert executor.execute(dspy.Predict("image: dspy.Image -> a"), inputs=result.outputs).success


@pytest.mark.parametrize("cached", [True, False])
def test_objects_are_told_by_their_repr_and_none_of_them_is_given(make: Any, cached: bool) -> None:
    made = dspy.Prediction(thing=Opaque(), inside={"list": [Opaque(), 1]}, failed=ValueError("no"))
    executor = make(ScriptedLM().lm)
    result = executor.execute(Gives(lambda: made), inputs={}, use_cache=cached)
    assert result.outputs == {"thing": "<opaque>", "inside": {"list": ["<opaque>", 1]}, "failed": "ValueError('no')"}
    json.dumps(result.to_dict())


@pytest.mark.parametrize("given", [None, "text", 3, ["a"], Opaque()])
def test_a_program_that_gives_no_named_values_says_what_to_return(make: Any, given: Any) -> None:
    result = executed(make, lambda: given)
    assert result.metadata["error_kind"] == "program_error"
    assert f"the program gave {type(given).__name__}; its forward must return a dspy.Prediction" in result.error


def test_what_a_caller_does_to_its_result_changes_no_program_and_no_later_result(make: Any) -> None:
    shared = {"tags": ["a"]}
    program = Gives(lambda: dspy.Prediction(shared=shared))
    executor = make(ScriptedLM().lm)
    for use_cache in (True, True, False):
        result = executor.execute(program, inputs={}, use_cache=use_cache)
        assert result.outputs == {"shared": {"tags": ["a"]}}
        result.outputs["shared"]["tags"].append("changed")
    assert shared == {"tags": ["a"]}
