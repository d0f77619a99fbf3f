"""Programs as data: shape, hash, members, options, state."""

from collections.abc import Callable
from typing import Any

import pytest
from golden import vectors

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.modules.options import read_options
from python_bridge.engine.modules.registry import KINDS
from python_bridge.engine.programs import check_shape, program_hash
from python_bridge.engine.state import dump_state
from python_bridge.errors import BridgeError
from python_bridge.testing.scripted import ScriptedLM

QA = {"format": 1, "kind": "predict", "signature": "question -> answer"}


def refused(engine: DSPyEngine, program: dict[str, Any]) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        engine.compile(program)
    return caught.value


@pytest.mark.req("FR1.1.1")
@pytest.mark.parametrize("case", vectors("programs.json", "valid"))
def test_golden_programs_have_their_handles(case: dict[str, Any]) -> None:
    assert program_hash(case["program"]) == case["module"]


@pytest.mark.req("FR1.1.1")
@pytest.mark.parametrize("case", vectors("programs.json", "invalid"))
def test_golden_maps_that_are_no_programs_are_refused_with_the_place(case: dict[str, Any]) -> None:
    with pytest.raises(BridgeError) as caught:
        check_shape(case["program"])
    assert caught.value.kind == "invalid_request"
    assert case["path"] in [problem["path"] for problem in caught.value.details["problems"]]


@pytest.mark.req("FR1.1.1")
def test_the_hash_does_not_depend_on_the_order_of_members_but_on_that_of_demos() -> None:
    reordered = dict(reversed(QA.items()))
    assert program_hash(QA) == program_hash(reordered)
    assert len(program_hash(QA)) == 64
    one = {**QA, "demos": [{"question": "a", "answer": "b"}]}
    other = {**QA, "demos": [{"answer": "b", "question": "a"}]}
    assert len({program_hash(QA), program_hash(one), program_hash(other)}) == 3


@pytest.mark.parametrize(
    ("program", "path"),
    [
        ({"kind": "predict", "signature": "a -> b"}, "program"),
        ({**QA, "format": 2}, "program.format"),
        ({**QA, "kind": "nope"}, "program.kind"),
        ({**QA, "signature": 5}, "program.signature"),
        ({**QA, "extra": 1}, "program"),
        ({**QA, "demos": [1]}, "program.demos.0"),
    ],
)
def test_the_wrong_shape_is_an_invalid_request_that_names_the_member(
    make_engine: Callable[..., DSPyEngine], program: dict[str, Any], path: str
) -> None:
    error = refused(make_engine(), program)
    assert error.kind == "invalid_request"
    assert path in [problem["path"] for problem in error.details["problems"]]


def test_what_is_no_map_or_no_plain_data_is_an_invalid_request(make_engine: Callable[..., DSPyEngine]) -> None:
    assert refused(make_engine(), []).kind == "invalid_request"  # type: ignore[arg-type]
    assert refused(make_engine(), {**QA, "metadata": {"x": object()}}).kind == "invalid_request"


@pytest.mark.req("FR1.1.2")
def test_wrong_options_are_named_all_at_once(make_engine: Callable[..., DSPyEngine]) -> None:
    error = refused(make_engine(), {**QA, "config": {"temperature": 9, "api_base": "http://elsewhere", "n": True}})
    assert error.kind == "invalid_input"
    assert [problem["path"] for problem in error.details["problems"]] == ["config.api_base"]
    error = refused(make_engine(), {**QA, "config": {"temperature": 9, "n": True, "stop": []}})
    paths = [problem["path"] for problem in error.details["problems"]]
    assert paths == ["config.temperature", "config.n", "config.stop"]
    assert "from 0 to 2" in error.message


@pytest.mark.req("FR1.1.2")
@pytest.mark.parametrize("kind", KINDS)
def test_each_option_of_each_kind_is_typed_and_a_wrong_one_is_named(kind: str) -> None:
    options = KINDS[kind].options
    with pytest.raises(BridgeError) as caught:
        read_options({**dict.fromkeys(options, object()), "no_such_option": 1}, options, "config")
    problems = {problem["path"]: problem["message"] for problem in caught.value.details["problems"]}
    assert list(problems) == [f"config.{name}" for name in (*options, "no_such_option")]
    assert all(options[name].words in problems[f"config.{name}"] for name in options)
    assert all(name in problems["config.no_such_option"] for name in (*options, "temperature"))
    defaults = {name: option.default for name, option in options.items()}
    assert read_options({"temperature": 0.5}, options, "config") == (defaults, {"temperature": 0.5})


@pytest.mark.req("OWN-9", "FR1.2.2")
@pytest.mark.parametrize("name", ["config", "lm", "signature", "demos", "new_signature", "prediction", "self"])
def test_inputs_that_dspy_would_take_as_control_arguments_are_refused(
    make_engine: Callable[..., DSPyEngine], name: str
) -> None:
    error = refused(make_engine(), {**QA, "signature": f"question, {name} -> answer"})
    assert error.kind == "signature_error"
    assert f"`{name}`" in error.message


def test_a_signature_without_outputs_cannot_run(make_engine: Callable[..., DSPyEngine]) -> None:
    assert "no output" in refused(make_engine(), {**QA, "signature": "question ->"}).message


def test_members_of_other_kinds_are_refused(make_engine: Callable[..., DSPyEngine]) -> None:
    error = refused(make_engine(), {**QA, "tools": [{"name": "search"}]})
    assert (error.kind, "`tools`" in error.message) == ("invalid_request", True)


@pytest.mark.req("FR1.1.4")
def test_a_program_describes_itself(make_engine: Callable[..., DSPyEngine]) -> None:
    program = {
        **QA,
        "kind": "chain_of_thought",
        "signature": {"text": "question -> answer: int", "instructions": "Count."},
        "demos": [{"question": "1+1", "answer": 2}],
        "config": {"temperature": 0.5},
        "adapter": "json",
    }
    engine = make_engine()
    described = engine.compile(program).describe()
    assert described["module"] == engine.hash_program(program)
    assert [item["name"] for item in described["outputs"]] == ["reasoning", "answer"]
    assert described["outputs"][1]["json_schema"] == {"type": "integer"}
    assert described["predictors"] == [
        {
            "name": "predict",
            "signature": "question -> reasoning, answer",
            "instructions": "Count.",
            "demos": [{"question": "1+1", "answer": 2}],
        }
    ]
    assert (described["lm"], described["adapter"], described["config"]) == ("default", "json", {"temperature": 0.5})


@pytest.mark.anyio
@pytest.mark.req("FR1.1.2")
async def test_demos_and_state_reach_the_prompt(make_engine: Callable[..., DSPyEngine], call: Any) -> None:
    scripted = ScriptedLM(default={"answer": "4"})
    state = {"self": {"instructions": "Add.", "fields": {"question": {"desc": "a sum"}}}}
    program = {**QA, "demos": [{"question": "1+1", "answer": "2"}], "state": state}
    await call(make_engine(scripted.lm), program, {"question": "2+2"})
    texts = [text for _, text in scripted.asked[0].messages]
    assert "Add." in texts[0]
    assert "`question` (str): a sum" in texts[0]
    assert "1+1" in texts[1]
    assert "2+2" in texts[3]


@pytest.mark.parametrize(
    ("member", "part"),
    [
        ({"demos": [{"nope": 1}]}, "`demos.0` has `nope`"),
        ({"demos": [{"question": "<<CUSTOM-TYPE-START-IDENTIFIER>>"}]}, "reserved text"),
        ({"state": {"other": {}}}, "names the predictor 'other'"),
        ({"state": {"self": {"lm": {}}}}, "`state.self` has `lm`"),
        ({"state": {"self": {"fields": {"nope": {}}}}}, "no field `nope`"),
        ({"state": {"self": {"fields": {"answer": {"__class__": "x"}}}}}, "takes desc, prefix only"),
        ({"state": {"self": {"instructions": 5}}}, "must be a text"),
        ({"state": {"self": {"demos": {}}}}, "must be a list"),
        ({"state": {"self": []}}, "must be a map"),
    ],
)
def test_wrong_state_is_refused_and_named(make_engine: Callable[..., DSPyEngine], member: Any, part: str) -> None:
    error = refused(make_engine(), {**QA, **member})
    assert error.kind == "invalid_request"
    assert part in error.message


def test_the_state_of_a_module_can_be_put_into_a_program_again(make_engine: Callable[..., DSPyEngine]) -> None:
    engine = make_engine()
    learned = {"predict": {"instructions": "Add.", "demos": [{"question": "1+1", "answer": "2"}]}}
    program = {**QA, "kind": "chain_of_thought", "state": learned}
    state = dump_state(engine.compile(program).built.make())
    assert state["predict"]["instructions"] == "Add."
    assert state["predict"]["demos"] == [{"question": "1+1", "answer": "2"}]
    again = engine.compile({**program, "state": state})
    assert dump_state(again.built.make()) == state
    assert set(state["predict"]) == {"instructions", "fields", "demos"}
