"""Executions in a real MLflow: a SQLite store and a server process, read back with MLflow's own client."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge import DSPyPipelineExecutor
from python_bridge.testing.scripted import Answer, ScriptedLM
from python_bridge.tracking.interface import NullTracker
from python_bridge.tracking.journaled import TrackingOptions
from python_bridge.tracking.make import make_tracker, tracker_from_environment
from python_bridge.tracking.mlflow_exporter import MlflowOptions, import_mlflow
from python_bridge.tracking.models import log_program

# What MLflow itself does with its own libraries; nothing of this project can mend it.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def options(uri: str, tmp_path: Path, experiment: str, **more: Any) -> MlflowOptions:
    return MlflowOptions(uri=uri, experiment=experiment, artifacts=tmp_path / "artifacts", **more)


def run_some(tracker: Any, count: int) -> None:
    scripted = ScriptedLM([Answer(fields={"answer": "x" * 300}, usage=(30, 4))], default={"answer": "y"})
    with DSPyPipelineExecutor(lms={"default": scripted.lm}, tracker=tracker) as executor:
        program = dspy.Predict("question -> answer")
        for number in range(count):
            executor.execute(program, inputs={"question": str(number)}, session_id="s1")
        executor.execute(program, inputs={})
        assert tracker.flush(120), tracker.stats()


def check(uri: str, experiment: str, count: int) -> None:
    from mlflow.tracing.client import TracingClient

    client = import_mlflow().MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    assert len(runs) == 1
    run = runs[0]
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "program_name": "Predict",
        "mode": "normal",
        "input_keys": "question",
        "output_answer": "x" * 100,
    }
    assert len(client.get_metric_history(run.info.run_id, "execution_time")) == count + 1
    successes = [metric.value for metric in client.get_metric_history(run.info.run_id, "success")]
    assert sorted(successes) == [0.0] + [1.0] * count
    traces = TracingClient(uri).search_traces([found.experiment_id], max_results=100)
    assert len(traces) == count + 1
    assert sorted(trace.info.state for trace in traces) == ["ERROR"] + ["OK"] * count
    full = next(trace for trace in traces if trace.data.spans[0].inputs == {"question": "0"})
    names = [span.name for span in full.data.spans]
    assert names[0] == "Predict"
    assert {"Predict.module", "scripted/lm.lm", "MemoChatAdapter.format", "MemoChatAdapter.parse"} <= set(names)
    lm = next(span for span in full.data.spans if span.name == "scripted/lm.lm")
    assert (lm.span_type, lm.inputs[0]["role"]) == ("CHAT_MODEL", "system")
    assert full.info.token_usage == {"input_tokens": 30, "output_tokens": 4, "total_tokens": 34}
    assert full.info.tags["run_id"] == run.info.run_id
    assert full.info.trace_metadata["mlflow.trace.session"] == "s1"


@pytest.mark.req("EX-8")
def test_executions_become_a_run_with_metrics_and_traces_with_spans(store: str, tmp_path: Path) -> None:
    tracker = make_tracker(options(store, tmp_path, "one"), TrackingOptions(tmp_path / "journal", steps_a_second=1))
    run_some(tracker, 5)
    check(store, "one", 5)


@pytest.mark.req("EX-8")
def test_a_batch_that_comes_twice_leaves_everything_once(store: str, tmp_path: Path) -> None:
    from mlflow.tracing.client import TracingClient

    from python_bridge.tracking.mlflow_exporter import MlflowExporter

    event = {
        "id": "abc-1", "program": "P", "mode": "normal", "inputs": {"q": 1}, "outputs": {"a": 2}, "success": True,
        "error": None, "started": 1.8e9, "seconds": 0.5, "metadata": {},
    }  # fmt: skip
    for _ in range(2):
        exporter = MlflowExporter(options(store, tmp_path, "twice"))
        exporter.export([event])
        exporter.close()
    client = import_mlflow().MlflowClient(store)
    found = client.get_experiment_by_name("twice").experiment_id
    runs = client.search_runs([found])
    assert len(runs) == 1
    assert len(client.get_metric_history(runs[0].info.run_id, "success")) == 1
    assert len(TracingClient(store).search_traces([found])) == 1


@pytest.mark.req("EX-8")
def test_a_caller_s_id_and_the_model_version_stand_where_mlflow_looks_for_them(store: str, tmp_path: Path) -> None:
    from mlflow.tracing.client import TracingClient

    chosen = options(store, tmp_path, "linked")
    program = {"format": 1, "kind": "predict", "signature": "question -> answer"}
    log_program(chosen, "linked-answers", program, alias="live")
    client = import_mlflow().MlflowClient(store)
    model = client.get_model_version_by_alias("linked-answers", "live").tags["dspex.model_id"]
    tracker = make_tracker(chosen, TrackingOptions(tmp_path / "journal"))
    uri, lms = "models:/linked-answers@live", {"default": ScriptedLM(default={"answer": "y"}).lm}
    with DSPyPipelineExecutor(lms=lms, models={uri: program}, tracker=tracker) as executor:
        executor.execute(model_id=uri, inputs={"question": "1"}, client_request_id="order-7", session_id="s")
        executor.execute(model_id=uri, inputs={"question": "2"})
        assert tracker.flush(120), tracker.stats()
    traces = TracingClient(store).search_traces([client.get_experiment_by_name("linked").experiment_id])
    assert {trace.info.trace_metadata.get("mlflow.modelId") for trace in traces} == {model}
    found = TracingClient(store).search_traces(
        [client.get_experiment_by_name("linked").experiment_id], filter_string="client_request_id = 'order-7'"
    )
    assert [trace.info.client_request_id for trace in found] == ["order-7"]
    assert found[0].info.trace_metadata["mlflow.trace.session"] == "s"
    assert found[0].info.trace_metadata["mlflow.sourceRun"] == found[0].info.tags["run_id"]
    assert found[0].data.spans[0].inputs == {"question": "1"}


@pytest.mark.req("EX-8")
def test_each_execution_may_have_a_run_of_its_own(store: str, tmp_path: Path) -> None:
    tracker = make_tracker(
        options(store, tmp_path, "each", run_per_execution=True), TrackingOptions(tmp_path / "journal")
    )
    run_some(tracker, 2)
    client = import_mlflow().MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("each").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]


@pytest.mark.req("EX-8")
def test_traces_alone_need_no_runs(store: str, tmp_path: Path) -> None:
    from mlflow.tracing.client import TracingClient

    tracker = make_tracker(options(store, tmp_path, "bare", runs=False), TrackingOptions(tmp_path / "journal"))
    run_some(tracker, 2)
    client = import_mlflow().MlflowClient(store)
    experiment = client.get_experiment_by_name("bare").experiment_id
    assert client.search_runs([experiment]) == []
    assert len(TracingClient(store).search_traces([experiment])) == 3


@pytest.mark.req("EX-8")
def test_autolog_is_for_programs_outside_of_the_executor_and_tells_no_execution_twice(
    store: str, tmp_path: Path
) -> None:
    command = [sys.executable, str(Path(__file__).with_name("autologged.py")), store, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    made = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    # The bare program, two executions told once each, and one that stands below a span of its caller's too.
    *_, traces, calls_home = made.stdout.splitlines()
    assert traces == "['Predict', 'Predict', 'Predict', 'Predict.forward', 'caller']"
    assert calls_home == "telemetry off: True, asked: []", "nothing is connected to but the store"


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--default-artifact-root", str(tmp_path / "server")]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path)
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{uri}/health", process)
        yield uri
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        log.close()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            raise RuntimeError("mlflow server ended") from None
    raise TimeoutError(url)


@pytest.mark.req("EX-8")
def test_a_server_gets_the_same_as_a_file(server: str, tmp_path: Path) -> None:
    tracking = TrackingOptions(tmp_path / "journal", steps_a_second=1, close_s=60)
    tracker = make_tracker(MlflowOptions(uri=server, experiment="served"), tracking)
    run_some(tracker, 3)
    check(server, "served", 3)


@pytest.mark.req("EX-8")
def test_a_tracker_that_cannot_work_fails_no_execution(tmp_path: Path) -> None:
    nowhere = MlflowOptions(uri=f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'm.db'}")
    tracker = make_tracker(nowhere, TrackingOptions(tmp_path / "journal", close_s=0.2))
    with DSPyPipelineExecutor(lms={"default": ScriptedLM(default={"a": "x"}).lm}, tracker=tracker) as executor:
        assert executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}).success
        assert executor.get_execution_stats()["tracking"]["recorded"] == 1


@pytest.mark.req("EX-12")
def test_the_environment_names_the_store_and_a_folder_that_cannot_be_made_tracks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert isinstance(tracker_from_environment({"XDG_STATE_HOME": str(tmp_path / "file")}), NullTracker)
    tracker = tracker_from_environment({"XDG_STATE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"})
    assert tracker.stats()["recorded"] == 0
    tracker.close()
