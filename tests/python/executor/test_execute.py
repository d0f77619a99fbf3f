"""One execution: results, inputs, modes, model ids, bad input."""

import asyncio
import dataclasses
import json
import threading
from types import SimpleNamespace
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from python_bridge import ExecutionMode, ExecutionResult
from python_bridge.services.executor.models import Models
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM

JSON_PROGRAM = {"format": 1, "kind": "predict", "signature": "question -> answer"}


class TwoSteps(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.Predict("topic -> outline")
        self.write = dspy.Predict("outline, length: int -> text")

    async def aforward(self, topic: str, length: int, style: str = "plain") -> dspy.Prediction:
        outline = (await self.draft.acall(topic=topic)).outline
        return await self.write.acall(outline=outline, length=length)


class Sync(dspy.Module):
    def __init__(self, mark: str = "!") -> None:
        super().__init__()
        self.ask = dspy.Predict("question -> answer")
        self.mark = mark

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.ask(question=question).answer + self.mark)


@dataclasses.dataclass
class AsDataclass:
    question: str


class AsModel(BaseModel):
    question: str


@pytest.mark.req("EX-1", "EX-2")
def test_a_prediction_comes_out_as_its_fields_and_as_json(make: Any) -> None:
    executor = make(ScriptedLM([Answer(fields={"answer": "Paris"}, usage=(3, 2))]).lm)
    result = executor.execute(dspy.Predict("question -> answer"), inputs={"question": "capital?"})
    assert isinstance(result, ExecutionResult)
    assert (result.success, result.outputs, result.error, result.program_name) == (
        True,
        {"answer": "Paris"},
        None,
        "Predict",
    )
    assert result.execution_time > 0
    read = json.loads(result.to_json())
    assert read == result.to_dict()
    assert read["metadata"]["usage"]["total_tokens"] == 5
    assert read["metadata"]["signature"] == "question -> answer"


@pytest.mark.req("EX-1")
@pytest.mark.parametrize("program", [JSON_PROGRAM, json.dumps(JSON_PROGRAM), json.dumps(JSON_PROGRAM).encode()])
def test_program_json_runs_as_a_map_and_as_text(make: Any, program: Any) -> None:
    result = make(ScriptedLM([{"answer": "x"}]).lm).execute(program, inputs={"question": "q"})
    assert result.outputs == {"answer": "x"}


@pytest.mark.req("EX-1")
def test_a_map_that_was_changed_in_place_is_another_program(make: Any) -> None:
    executor = make(ScriptedLM(default={"answer": "x", "more": "y"}).lm)
    program = {**JSON_PROGRAM, "demos": [{"question": "1", "answer": "2"}]}

    def told() -> tuple[str, str]:
        result = executor.execute(program, inputs={"question": "q"})
        return result.metadata.get("cache", ""), result.error or result.metadata["signature"]

    assert [told(), told()] == [("miss", "question -> answer"), ("hit", "question -> answer")]
    program["demos"][0]["answer"] = "3"
    assert [told(), told()] == [("miss", "question -> answer"), ("hit", "question -> answer")]
    program["signature"] = "question -> answer, more"
    assert told() == ("miss", "question -> answer, more")
    program["demos"].append(object())
    assert "plain data" in told()[1]
    program["demos"] = []
    program["kind"] = "unknown"
    assert told()[0] == "off"


@pytest.mark.req("EX-1", "EX-7")
def test_a_model_id_names_a_program_that_is_loaded_once(make: Any) -> None:
    asked: list[str] = []

    def models(name: str) -> Any:
        asked.append(name)
        return JSON_PROGRAM if name == "qa" else None

    executor = make(ScriptedLM(default={"answer": "x"}).lm, models=models)
    results = [executor.execute(model_id="qa", inputs={"question": text}) for text in "ab"]
    assert [result.success for result in results] == [True, True]
    assert asked == ["qa"]
    assert executor.execute(model_id="other", inputs={}).error == "Model other not found in registry"


@pytest.mark.req("EX-1")
def test_threads_that_load_more_models_than_are_kept_do_not_disturb_one_another(crowd: Any) -> None:
    models = Models(lambda model_id: {"name": model_id})

    def load(number: int) -> None:
        for turn in range(4000):
            name = str((turn + 13 * number) % 100)
            assert models.get(name) == {"name": name}

    assert crowd(load) == []


@pytest.mark.req("EX-1", "EX-7")
def test_a_map_of_models_is_asked_at_every_execution(make: Any) -> None:
    models: dict[str, Any] = {"qa": JSON_PROGRAM}
    executor = make(ScriptedLM(default={"answer": "x", "other": "y"}).lm, models=models)
    assert executor.execute(model_id="qa", inputs={"question": "q"}).outputs == {"answer": "x"}
    models["qa"] = {**JSON_PROGRAM, "signature": "question -> other"}
    assert executor.execute(model_id="qa", inputs={"question": "q"}).outputs == {"other": "y"}
    del models["qa"]
    assert executor.execute(model_id="qa", inputs={}).error == "Model qa not found in registry"


@pytest.mark.req("EX-1")
def test_the_model_id_is_told_apart_from_the_model_that_answered(make: Any) -> None:
    executor = make(ScriptedLM([{"answer": "x"}]).lm, models={"qa": JSON_PROGRAM})
    answered, failed = (executor.execute(model_id="qa", inputs=inputs) for inputs in ({"question": "q"}, {}))
    assert (answered.metadata["model_id"], answered.metadata["model"]) == ("qa", "scripted/lm")
    assert failed.metadata["model_id"] == "qa"
    assert "model" not in failed.metadata


@pytest.mark.req("EX-4")
@pytest.mark.parametrize(
    "inputs",
    [{"question": "q"}, '{"question": "q"}', AsDataclass("q"), AsModel(question="q"), dspy.Example(question="q")],
)
def test_inputs_come_as_maps_json_text_and_objects(make: Any, inputs: Any) -> None:
    scripted = ScriptedLM([{"answer": "x"}])
    assert make(scripted.lm).execute(dspy.Predict("question -> answer"), inputs=inputs).success
    assert scripted.asked[0].prompt.inputs == {"question": "q"}


@pytest.mark.req("EX-4")
@pytest.mark.parametrize(
    "program",
    [
        dspy.Predict("a, b -> c"),
        dspy.ChainOfThought("a, b -> c"),
        dspy.ReAct("a, b -> c", tools=[]),
        {"format": 1, "kind": "chain_of_thought", "signature": "a, b -> c"},
    ],
)
def test_missing_inputs_are_named_for_every_kind_of_program(make: Any, program: Any) -> None:
    scripted = ScriptedLM()
    result = make(scripted.lm).execute(program, inputs={})
    assert result.error == "Missing required input fields: ['a', 'b']"
    assert result.metadata["error_kind"] == "invalid_input"
    assert not scripted.asked


@pytest.mark.req("EX-4")
def test_a_program_of_several_signatures_is_validated_by_its_forward(make: Any) -> None:
    scripted = ScriptedLM([{"outline": "o"}, {"text": "t"}])
    executor = make(scripted.lm)
    assert executor.execute(TwoSteps(), inputs={"topic": "x"}).error == "Missing required input fields: ['length']"
    assert "is not an input" in executor.execute(TwoSteps(), inputs={"topic": "x", "length": 1, "lm": 2}).error
    assert "length" in executor.execute(TwoSteps(), inputs={"topic": "x", "length": "many"}).error
    assert executor.execute(TwoSteps(), inputs={"topic": "x", "length": "3"}).outputs == {"text": "t"}
    assert scripted.asked[1].prompt.inputs["length"] == "3"


@pytest.mark.req("EX-4")
def test_values_are_converted_and_the_callers_objects_stay_as_they_are(make: Any) -> None:
    scripted = ScriptedLM([{"answer": "x"}])
    inputs = {"n": "3", "tags": ["a"]}
    assert make(scripted.lm).execute(dspy.Predict("n: int, tags: list[str] -> answer"), inputs=inputs).success
    assert inputs == {"n": "3", "tags": ["a"]}


@pytest.mark.req("EX-4")
@pytest.mark.parametrize("name", ["config", "lm", "signature", "demos"])
def test_inputs_that_would_control_the_lm_are_refused(make: Any, name: str) -> None:
    scripted = ScriptedLM()
    result = make(scripted.lm).execute(dspy.Predict("q -> a"), inputs={"q": "x", name: {"api_base": "http://other"}})
    assert result.metadata["error_kind"] == "invalid_input"
    assert not scripted.asked


@pytest.mark.req("EX-3")
def test_a_dry_run_validates_and_runs_nothing(make: Any) -> None:
    scripted = ScriptedLM()
    executor = make(scripted.lm)
    program = dspy.Predict("question -> answer")
    result = executor.execute(program, inputs={"question": "q"}, mode=ExecutionMode.DRY_RUN)
    assert (result.success, result.outputs) == (True, {})
    assert not executor.execute(program, inputs={}, mode="dry_run").success
    assert not scripted.asked


@pytest.mark.req("EX-3")
def test_an_unknown_mode_is_a_failure_that_names_the_known_ones(make: Any) -> None:
    result = make(ScriptedLM().lm).execute(dspy.Predict("q -> a"), inputs={"q": "x"}, mode="turbo")
    assert result.metadata["error_kind"] == "invalid_input"
    assert "normal, dry_run, debug" in result.error


@pytest.mark.req("EX-1")
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"program": JSON_PROGRAM, "model_id": "x"},
        {"program": dspy.Predict},
        {"program": 5},
        {"program": {"kind": "predict"}},
        {"program": JSON_PROGRAM, "speed": 3},
        {"program": JSON_PROGRAM, "timeout": "soon"},
        {"program": JSON_PROGRAM, "inputs": "no json"},
        {"program": JSON_PROGRAM, "inputs": "[1]"},
        {"program": JSON_PROGRAM, "inputs": 5},
    ],
)
def test_wrong_arguments_are_failures_and_never_internal_errors(make: Any, given: dict[str, Any]) -> None:
    result = make(ScriptedLM().lm).execute(**given)
    assert not result.success
    assert result.metadata["error_kind"] in ("invalid_request", "invalid_input")


def test_callbacks_of_the_caller_are_called(make: Any) -> None:
    class Note(dspy.utils.callback.BaseCallback):
        def __init__(self) -> None:
            self.modules: list[str] = []

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.modules.append(type(instance).__name__)

    note = Note()
    executor = make(ScriptedLM(default={"answer": "x"}).lm)
    with dspy.context(callbacks=[note]):
        executor.execute(Sync(), inputs={"question": "q"})
    assert note.modules == ["Sync", "Predict"]


@pytest.mark.anyio
@pytest.mark.req("EX-1")
async def test_the_asynchronous_twin_runs_on_the_callers_loop(make: Any) -> None:
    executor = make(ScriptedLM(default={"answer": "x"}).lm)
    result = await executor.aexecute(Sync("?"), inputs={"question": "q"})
    assert result.outputs == {"answer": "x?"}
    assert [r.success for r in await executor.aexecute_batch(JSON_PROGRAM, inputs_list=[{"question": "1"}, {}])] == [
        True,
        False,
    ]
    await executor.ashutdown()
    assert (await executor.aexecute(JSON_PROGRAM, inputs={"question": "q"})).metadata["error_kind"] == "unavailable"


@pytest.mark.anyio
@pytest.mark.req("EX-1")
async def test_a_program_without_an_asynchronous_form_does_not_hold_the_callers_loop(make: Any) -> None:
    answer = Answer(fields={"answer": "x"}, gate=Gate())
    executor = make(ScriptedLM([answer]).lm)
    running = asyncio.create_task(executor.aexecute(Sync("?"), inputs={"question": "q"}))
    await asyncio.to_thread(answer.reached.wait, 30)
    assert not running.done(), "this loop goes on while the program waits"
    answer.gate.open() if answer.gate else None
    assert (await running).outputs == {"answer": "x?"}


def test_the_lm_of_the_callers_context_is_used(make: Any) -> None:
    inner = ScriptedLM([{"answer": "inner"}])
    executor = make(ScriptedLM(default={"answer": "outer"}).lm)
    with dspy.context(lm=inner.lm):
        assert executor.execute(dspy.Predict("q -> answer"), inputs={"q": "x"}).outputs == {"answer": "inner"}
    assert executor.execute(dspy.Predict("q -> answer"), inputs={"q": "x"}).outputs == {"answer": "outer"}


def test_program_json_that_names_no_lm_takes_that_of_the_callers_context(make: Any) -> None:
    inner = ScriptedLM([{"answer": "inner"}], default={"answer": "inner again"})
    executor = make()
    with dspy.context(lm=inner.lm):
        assert executor.execute(JSON_PROGRAM, inputs={"question": "x"}).outputs == {"answer": "inner"}
    assert "there is no LM named 'default'" in executor.execute(JSON_PROGRAM, inputs={"question": "x"}).error


class OwnLM(dspy.BaseLM):
    """A class as users have them: it can only wait."""

    def __init__(self) -> None:
        super().__init__("own")

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread(), "the loop goes on while it waits"
        message = SimpleNamespace(content="[[ ## answer ## ]]\nmine\n\n[[ ## completed ## ]]")
        choice = SimpleNamespace(message=message, finish_reason="stop")
        return SimpleNamespace(choices=[choice], usage={}, model="own")


@pytest.mark.anyio
@pytest.mark.req("EX-1")
@pytest.mark.filterwarnings("ignore:Implementing custom LMs")
@pytest.mark.parametrize("program", [JSON_PROGRAM, dspy.Predict("question -> answer")])
async def test_an_lm_class_of_the_callers_own_that_blocks_runs_in_a_thread(make: Any, program: Any) -> None:
    executor = make(lms={"default": OwnLM()})
    assert (await executor.aexecute(program, inputs={"question": "x"})).outputs == {"answer": "mine"}
    with dspy.context(lm=OwnLM()):
        assert (await executor.aexecute(program, inputs={"question": "y"})).outputs == {"answer": "mine"}


@pytest.mark.req("EX-1")
def test_plain_lms_of_dspy_are_taken_by_name(make: Any) -> None:
    lm = dspy.LM("openai/x", api_base="http://127.0.0.1:1/v1", api_key="k", cache=False, num_retries=0)
    result = make(lms={"default": lm}, max_retries=0).execute(JSON_PROGRAM, inputs={"question": "x"})
    assert result.metadata["error_kind"] == "lm_error"
    assert "failed to connect" in result.error
    refused = make(lms={"default": "openai/x"}).execute(JSON_PROGRAM, inputs={"question": "x"})
    assert "must be a dspy.LM" in refused.error


def test_without_any_lm_the_error_says_what_to_do(make: Any) -> None:
    result = make().execute(dspy.Predict("q -> a"), inputs={"q": "x"})
    assert "dspy.configure" in result.error
