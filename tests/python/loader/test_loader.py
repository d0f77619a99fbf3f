"""Programs by configuration, class and registry; errors name file and line."""

import os
import shutil
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from python_bridge import DSPyModelLoader, DSPyPipelineExecutor
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing.scripted import ScriptedLM
from python_bridge.tracking.mlflow_exporter import MlflowOptions
from python_bridge.tracking.models import log_program

PROGRAM = {"format": 1, "kind": "predict", "signature": "question -> answer"}
CONFIG = """\
name: answers
version: 1.2.0
kind: chain_of_thought
signature: "question -> answer"
config:
  temperature: 0.2
dependencies:
  dspy: ">=3.0,<4"
metadata:
  owner: team-a
"""


def write(folder: Path, text: str, name: str = "answers.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def run(models: Any, model_id: str, inputs: dict[str, Any], answers: list[Any], **given: Any) -> Any:
    scripted = ScriptedLM(answers)
    with DSPyPipelineExecutor(mlflow_tracking=False, lms={"default": scripted.lm}, models=models, **given) as executor:
        return executor.execute(model_id=model_id, inputs=inputs)


@pytest.mark.req("EX-11")
def test_a_configuration_becomes_a_program_that_runs(tmp_path: Path) -> None:
    write(tmp_path, CONFIG)
    loader = DSPyModelLoader(tmp_path)
    model = loader.load("answers")
    assert (model.name, model.version, model.source, model.metadata) == (
        "answers",
        "1.2.0",
        "local",
        {"owner": "team-a"},
    )
    assert model.dependencies == {"dspy": version("dspy")}
    result = run(loader, "answers", {"question": "q"}, [{"reasoning": "r", "answer": "a"}])
    assert (result.outputs, result.program_name) == ({"reasoning": "r", "answer": "a"}, "answers")


@pytest.mark.req("EX-11")
def test_a_chain_of_signatures_runs_step_by_step(tmp_path: Path) -> None:
    text = 'name: two\nchain:\n  - signature: "topic -> outline"\n  - signature: "outline -> text"\n'
    result = run(
        DSPyModelLoader(tmp_path if write(tmp_path, text, "two.yaml") else None),
        "two",
        {"topic": "t"},
        [{"outline": "o"}, {"text": "x"}],
    )
    assert result.outputs == {"outline": "o", "text": "x"}


@pytest.mark.req("EX-11")
def test_files_are_read_again_only_when_they_change(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG)
    loader = DSPyModelLoader(tmp_path)
    first = loader.load_from_config(path)
    assert loader.load_from_config(path) is first
    write(tmp_path, CONFIG.replace("1.2.0", "1.3.0"))
    os.utime(path, ns=(1, 1))
    assert loader.load_from_config(path).version == "1.3.0"


@pytest.mark.req("EX-11")
@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: answers", "name: 5", 1, "must be a text"),
        ("kind: chain", "knd: chain", 3, "is no member"),
        ('  dspy: ">=3.0,<4"', '  dspy: ">=99"', 8, "is installed; run: pip install 'dspy>=99'"),
        ('  dspy: ">=3.0,<4"', '  no-such-package-here: ""', 8, "is not installed"),
        ('  dspy: ">=3.0,<4"', "  dspy: newest", 8, "cannot be read"),
        ("version: 1.2.0", "source: shop", 2, "must be one of local, registry, mlflow"),
        ("version: 1.2.0", "version: [", 2, "this is no YAML"),
        ("  owner: team-a", "  - a", 9, "must be a map"),
        ("name: answers", "name: !!python/object/apply:os.getpid []", 1, "this is no YAML"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    path = write(tmp_path, CONFIG.replace(old, new))
    with pytest.raises(BridgeError) as raised:
        DSPyModelLoader().load_from_config(path)
    assert raised.value.kind == "invalid_request"
    assert words in raised.value.message
    start, _, rest = raised.value.message.partition(":")
    assert (start, rest.partition(":")[0]) == (str(path), str(line)) or "no YAML" in words


@pytest.mark.req("EX-11")
def test_a_class_is_imported_only_when_the_settings_allow_it() -> None:
    model = DSPyModelLoader().load_from_class("dspy:Predict", args={"signature": "q -> a"})
    allowed = Settings(allowed_imports=("dspy:Predict",))
    result = run({"m": model.program}, "m", {"q": "1"}, [{"a": "x"}], settings=allowed)
    assert result.outputs == {"a": "x"}
    refused = run({"m": model.program}, "m", {"q": "1"}, [{"a": "x"}])
    assert "allowed_imports" in refused.error


@pytest.mark.req("EX-11")
def test_the_registry_is_asked_for_what_is_in_no_file(tmp_path: Path) -> None:
    write(tmp_path, "name: mine\nsource: registry\nmodel: shared\n", "mine.yaml")
    loader = DSPyModelLoader(tmp_path, registry={"shared": PROGRAM}.get)
    assert loader.load("shared").program == PROGRAM
    assert loader.load("mine").program == PROGRAM
    assert run(loader, "other", {}, []).error == "Model other not found in registry"


@pytest.mark.req("EX-11")
def test_an_executor_sees_a_file_that_changes_and_one_that_comes_later(tmp_path: Path) -> None:
    scripted = ScriptedLM(default={"a": "x", "b": "y"})
    loader = DSPyModelLoader(tmp_path)
    with DSPyPipelineExecutor(mlflow_tracking=False, lms={"default": scripted.lm}, models=loader) as executor:
        assert executor.execute(model_id="p", inputs={"q": "1"}).error == "Model p not found in registry"
        write(tmp_path, "name: p\nsignature: 'q -> a'\n", "p.yaml")
        assert executor.execute(model_id="p", inputs={"q": "1"}).outputs == {"a": "x"}
        write(tmp_path, "name: p\nsignature: 'q -> b'\n# changed\n", "p.yaml")
        assert executor.execute(model_id="p", inputs={"q": "1"}).outputs == {"b": "y"}


@pytest.mark.req("EX-11")
def test_two_files_of_one_name_are_refused_and_other_files_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "name: p\nsignature: 'q -> a'\n", "p.yaml")
    write(tmp_path, '{"format": 1, "kind": "predict", "signature": "q -> a"}', "p.json")
    write(tmp_path, "name: h\nsignature: 'q -> a'\n", ".hidden.yaml")
    write(tmp_path, "text", "readme.md")
    (tmp_path / "folder.yaml").mkdir()
    loader = DSPyModelLoader(tmp_path)
    with pytest.raises(BridgeError, match=r"p.yaml and p.json in .* have one name"):
        loader.load("p")
    rows = loader.list_models()
    assert [(row["name"], "one name" in row["error"]) for row in rows] == [
        ("folder", False),
        ("p", True),
        ("p", True),
    ]
    assert "it is no file" in rows[0]["error"]


@pytest.mark.req("EX-11")
@pytest.mark.parametrize("model_id", ["../p", "a/b", ".hidden", "", "a\0b", "x" * 5000])
def test_a_model_id_leads_to_no_file_outside_of_the_folder(tmp_path: Path, model_id: str) -> None:
    folder = tmp_path / "programs"
    (folder / "a").mkdir(parents=True)
    for name in ("p.yaml", "programs/a/b.yaml", "programs/.hidden.yaml"):
        write(tmp_path, "name: p\nsignature: 'q -> a'\n", name)
    with pytest.raises(BridgeError, match="not found in registry"):
        DSPyModelLoader(folder).load(model_id)


@pytest.mark.req("EX-11")
def test_a_folder_that_is_not_there_and_an_id_that_is_no_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"the folder of programs .* cannot be read"):
        DSPyModelLoader(tmp_path / "none").list_models()
    with pytest.raises(BridgeError, match="a model id is a text, not int"):
        DSPyModelLoader(tmp_path).load(5)  # type: ignore[arg-type]


@pytest.mark.req("EX-11")
def test_a_program_file_that_is_no_program_names_itself(tmp_path: Path) -> None:
    for text in ('["a"]', '{"format": 1, "kind": "predcit"}', '{"format": 1, "kind": "predict", "metadata": 5}', "{"):
        path = write(tmp_path, text, "p.json")
        with pytest.raises(BridgeError) as raised:
            DSPyModelLoader().load_from_json(path)
        assert raised.value.message.startswith(f"{path}: ")


@pytest.mark.req("EX-11")
def test_the_list_tells_what_is_wrong_with_each_file(tmp_path: Path) -> None:
    write(tmp_path, CONFIG)
    write(tmp_path, "name: [", "broken.yaml")
    write(tmp_path, '{"format": 1, "kind": "predict", "signature": "a -> b"}', "plain.json")
    rows = DSPyModelLoader(tmp_path).list_models()
    assert [(row["name"], row["error"] is None) for row in rows] == [
        ("answers", True),
        ("broken", False),
        ("plain", True),
    ]


@pytest.mark.req("EX-8", "EX-11")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*", "ignore::FutureWarning:mlflow.*")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_programs_are_versions_in_mlflow_without_pickles_or_keys(store: str, tmp_path: Path) -> None:
    options = MlflowOptions(uri=store, experiment="versions", artifacts=tmp_path / "artifacts")
    assert log_program(options, "answers", PROGRAM, alias="live") == "1"
    assert log_program(options, "answers", {**PROGRAM, "signature": "question -> reply"}) == "2"
    loader = DSPyModelLoader(mlflow=options)
    assert loader.load("models:/answers@live").program == PROGRAM
    assert loader.load("models:/answers/1").program == PROGRAM
    assert loader.load("models:/answers").program["signature"] == "question -> reply"
    assert run(loader, "models:/none@live", {}, []).error == "Model models:/none@live not found in registry"
    files = [path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert set(files) == {"program.json"}
    with pytest.raises(BridgeError, match="looks like a secret"):
        log_program(options, "answers", {**PROGRAM, "lm": {"name": "x", "params": {"api_key": "k"}}})


@pytest.mark.req("EX-8", "EX-11")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*", "ignore::FutureWarning:mlflow.*")
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_an_alias_that_moves_is_seen_and_an_outage_of_mlflow_is_not(store: str, tmp_path: Path) -> None:
    now = [0.0]
    options = MlflowOptions(uri=store, experiment="moving", artifacts=tmp_path / "artifacts")
    changed = {**PROGRAM, "signature": "question -> reply"}
    loader = DSPyModelLoader(mlflow=options, refresh=60, clock=lambda: now[0])
    log_program(options, "moving", PROGRAM, alias="live")
    assert loader.get("models:/moving@live") == PROGRAM
    log_program(options, "moving", changed, alias="live")
    assert loader.get("models:/moving@live") == PROGRAM

    def again() -> Any:
        now[0] += 60.0
        loader.get("models:/moving@live")
        for thread in threading.enumerate():
            if thread.name == "dspex-models":
                thread.join(60)
        return loader.get("models:/moving@live")

    assert again() == changed
    shutil.rmtree(tmp_path / "artifacts")
    assert again() == changed
    with pytest.raises(BridgeError, match="MLflow does not give models:/moving@live"):
        DSPyModelLoader(mlflow=options).load("models:/moving@live")


@pytest.mark.req("EX-1")
def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, python_bridge; print([n for n in ('dspy', 'mlflow', 'numpy', 'cachetools') if n in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
