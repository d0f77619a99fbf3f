"""What the same question is: two things that answer differently never share an answer, in this process or the next."""

import gc
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge.services.executor.options import CacheOptions
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.scripted import ScriptedLM

pytestmark = pytest.mark.req("EX-7")


class Marking(dspy.ChatAdapter):
    def __init__(self, mark: str) -> None:
        super().__init__()
        self.mark = mark

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        return {name: f"{value}{self.mark}" for name, value in super().parse(signature, completion).items()}


class Retrieving(dspy.Module):
    def forward(self, q: str) -> Any:
        return dspy.Prediction(a=dspy.settings.rm(q))


class Holding(dspy.Module):
    def __init__(self, functions: list[Any]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, q: str) -> Any:
        return dspy.Prediction(a=self.functions[0](q))


def upper(text: str) -> str:
    return text.upper()


def test_an_adapter_that_took_the_place_of_another_one_has_answers_of_its_own(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    for number in range(20):
        adapter = Marking(str(number))
        with dspy.context(adapter=adapter):
            result = executor.execute(program, inputs={"q": "1"})
        assert result.outputs == {"a": f"x{number}"}
        del adapter
        gc.collect(0)


def test_an_adapter_that_was_changed_is_asked_anew(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program, adapter = dspy.Predict("q -> a"), Marking("1")
    found = []
    with dspy.context(adapter=adapter):
        for mark in ("1", "1", "2"):
            adapter.mark = mark
            result = executor.execute(program, inputs={"q": "1"})
            found.append((result.outputs["a"], result.metadata["cache"]))
    assert found == [("x1", "miss"), ("x1", "hit"), ("x2", "miss")]


def test_an_lm_that_was_changed_is_asked_anew(make: Any) -> None:
    executor = make()
    lm = ScriptedLM(default={"a": "x"}).lm
    stop = ["end"]
    lm.kwargs["stop"] = stop

    def cache() -> str:
        with dspy.context(lm=lm):
            result = executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"})
        assert result.metadata["model"] == lm.model
        return result.metadata["cache"]

    assert [cache(), cache()] == ["miss", "hit"]
    lm.model = "another/model"
    assert [cache(), cache()] == ["miss", "hit"]
    stop.append("stop")
    assert [cache(), cache()] == ["miss", "hit"]


def test_an_lm_of_a_predictor_that_was_changed_is_asked_anew(make: Any) -> None:
    program = dspy.Predict("q -> a")
    program.lm = ScriptedLM(default={"a": "x"}).lm
    executor = make(ScriptedLM().lm)
    found: list[str] = []
    for temperature in (0.1, 0.1, 0.9):
        program.lm.kwargs["temperature"] = temperature
        found.append(executor.execute(program, inputs={"q": "1"}).metadata["cache"])
    assert found == ["miss", "hit", "miss"]


class Shows(dspy.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, q: str) -> Any:
        return dspy.Prediction(a=f"{self.value!r:.20}")


def test_equal_values_of_other_types_are_other_values(make: Any) -> None:
    program, executor = Shows(1), make(ScriptedLM().lm)
    found: list[str] = []
    for value in (1, True, 1.0):
        program.value = value
        found.append(executor.execute(program, inputs={"q": "1"}).outputs["a"])
    assert found == ["1", "True", "1.0"]


def test_values_and_code_that_cannot_be_read_are_answered_as_long_as_they_stay(make: Any) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    program, executor = Shows(endless), make(ScriptedLM().lm)
    found = [executor.execute(program, inputs={"q": "1"}) for _ in range(2)]
    program.value = {**endless, "more": 1}
    found.append(executor.execute(program, inputs={"q": "1"}))
    assert [result.metadata["cache"] for result in found] == ["miss", "hit", "miss"]
    made: dict[str, Any] = {"dspy": dspy, "__name__": None}
    exec("def forward(self, q): return dspy.Prediction(a=q)", made)
    assert executor.execute(type("Made", (dspy.Module,), made)(), inputs={"q": "1"}).outputs == {"a": "1"}


def test_another_retriever_means_another_answer(make: Any) -> None:
    executor = make(ScriptedLM().lm)
    program = Retrieving()
    answers = []
    for word in ("one", "two"):
        with dspy.context(rm=lambda _, word=word: word):
            answers.append(executor.execute(program, inputs={"q": "1"}).outputs["a"])
    assert answers == ["one", "two"]


def test_functions_within_a_list_tell_programs_apart(make: Any) -> None:
    executor = make(ScriptedLM().lm)
    for number in range(20):
        program = Holding([lambda _, number=number: number])
        assert executor.execute(program, inputs={"q": "1"}).outputs == {"a": number}
    found = [executor.execute(Holding([upper]), inputs={"q": "x"}) for _ in range(2)]
    assert [(result.outputs, result.metadata["cache"]) for result in found] == [
        ({"a": "X"}, "miss"),
        ({"a": "X"}, "hit"),
    ]


SOURCE = """
import dspy

MARK = "{mark}"

def helper(text):
    return text + MARK

class Program(dspy.Module):
    def forward(self, q: str):
        return dspy.Prediction(a=helper(q))
"""


def test_a_class_whose_code_was_edited_and_loaded_again_is_another_program(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "edited_program.py"
    file.write_text(SOURCE.format(mark="1"))
    executor = make(ScriptedLM().lm)
    module = importlib.import_module("edited_program")
    first = executor.execute(module.Program(), inputs={"q": "x"})
    file.write_text(SOURCE.format(mark="23"))
    importlib.reload(module)
    second = executor.execute(module.Program(), inputs={"q": "x"})
    assert [first.outputs["a"], second.outputs["a"]] == ["x1", "x23"]
    again = executor.execute(module.Program(), inputs={"q": "x"})
    assert again.metadata["cache"] == "hit"


WORDS = """
import sys
from python_bridge.engine.targets.code import code_of

def helper(word, known=("a", "b")):
    return word in {"one", "two", "three", "four"} or word in known

class Program:
    limit = property(lambda self: 3)

    def forward(self, q):
        return [helper(word) for word in q.split()]

print(code_of(Program))
"""


def test_the_code_of_a_class_is_the_same_in_every_process(tmp_path: Path) -> None:
    file = tmp_path / "words.py"
    file.write_text(WORDS)
    found = {
        subprocess.run(
            [sys.executable, str(file)], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(found.pop()) > 200


def test_imported_classes_stay_out_of_the_file_that_other_processes_share(make: Any, tmp_path: Path) -> None:
    settings = Settings(lms={"default": LmSettings(model="offline/extractive")}, allowed_imports=("dspy:Predict",))
    program = {"format": 1, "kind": "custom", "import": "dspy:Predict", "config": {"args": {"signature": "q -> a"}}}
    executor = make(settings=settings, cache=CacheOptions(path=tmp_path / "results.db"))
    results = [executor.execute(program, inputs={"q": "What?"}) for _ in range(2)]
    assert [result.metadata["cache"] for result in results] == ["miss", "hit"]
    assert executor.get_execution_stats()["cache"]["file"]["entries"] == 0
