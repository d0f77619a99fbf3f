"""MLflow under faults: odd executions, runs and experiments that others delete, servers that do not work."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.tracking.journaled import JournaledTracker, Refused, TrackingOptions
from python_bridge.tracking.make import make_tracker
from python_bridge.tracking.mlflow_exporter import MlflowExporter, MlflowOptions, import_mlflow
from python_bridge.tracking.reachable import check_reachable

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow.*"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),
]


def event(number: int, experiment: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{experiment}-{number:x}", "program": "P", "mode": "normal", "inputs": {"q": 1}, "outputs": {"a": 2},
        "success": True, "error": None, "started": 1.8e9, "seconds": 0.5, "metadata": {}, **more,
    }  # fmt: skip


def exporter(store: str, tmp_path: Path, experiment: str, **more: Any) -> MlflowExporter:
    return MlflowExporter(MlflowOptions(uri=store, experiment=experiment, artifacts=tmp_path / "artifacts", **more))


def traces(store: str, experiment: str) -> list[Any]:
    from mlflow.tracing.client import TracingClient

    found = import_mlflow().MlflowClient(store).get_experiment_by_name(experiment)
    return TracingClient(store).search_traces([found.experiment_id], max_results=100)


ODD: list[dict[str, Any]] = [
    {"program": "N" * 10_000},
    {"program": "a'b\\c`d\"%_\0\n"},
    {"program": ""},
    {"labels": {"session_id": "s" * 10_000, "client_request_id": "c" * 10_000, "model_id": "models:/" + "m" * 10_000}},
    {"labels": {"model_id": "models:/nobody@none"}},
    {"program": "odd names", "outputs": {"a b/c:é漢-!@#$%": 1, "": 2, "x" * 1000: 3}},
    {"program": "no outputs", "outputs": None},
]


def fail_exports(tracker: Any, times: int) -> None:
    """Ask for exports until so many have failed."""
    for _ in range(600):
        if tracker.stats()["export_failures"] >= times:
            return
        assert not tracker.flush(0.1)
    pytest.fail(f"no {times} exports failed: {tracker.stats()}")


@pytest.mark.req("EX-8")
def test_mlflow_takes_whatever_names_and_ids_callers_give(store: str, tmp_path: Path) -> None:
    made = exporter(store, tmp_path, "odd")
    for number, odd in enumerate(ODD):
        made.export([event(number, "odd", **odd)])
    made.close()
    assert len(traces(store, "odd")) == len(ODD)


@pytest.mark.req("EX-8")
def test_what_mlflow_does_not_take_is_told_apart_from_an_outage(store: str, tmp_path: Path) -> None:
    made = exporter(store, tmp_path, "refusing")
    for wrong in ({"seconds": float("nan")}, {"id": "no serial"}):
        with pytest.raises(Refused):
            made.export([event(1, "refusing", **wrong)])
    made.close()


@pytest.mark.req("EX-8")
def test_a_run_that_somebody_ends_or_deletes_does_not_stop_the_tracking(store: str, tmp_path: Path) -> None:
    options = MlflowOptions(uri=store, experiment="meddled", artifacts=tmp_path / "artifacts")
    tracker = make_tracker(options, TrackingOptions(tmp_path / "journal", retry_s=0.01))
    client = import_mlflow().MlflowClient(store)

    def record(number: int) -> list[Any]:
        tracker.record(event(number, "meddled"))
        assert tracker.flush(60), tracker.stats()
        return client.search_runs([client.get_experiment_by_name("meddled").experiment_id])

    (run,) = record(1)
    client.set_terminated(run.info.run_id, "FAILED")
    assert [found.info.run_id for found in record(2)] == [run.info.run_id]
    client.delete_run(run.info.run_id)
    (other,) = record(3)
    assert other.info.run_id != run.info.run_id
    assert tracker.stats()["quarantined"] == 0
    tracker.close()
    assert len(traces(store, "meddled")) == 3


@pytest.mark.req("EX-8")
def test_an_experiment_that_is_deleted_is_told_and_what_comes_meanwhile_waits(store: str, tmp_path: Path) -> None:
    options = MlflowOptions(uri=store, experiment="deleted", artifacts=tmp_path / "artifacts")
    tracker = make_tracker(options, TrackingOptions(tmp_path / "journal", retry_s=0.01))
    tracker.record(event(1, "deleted"))
    assert tracker.flush(60)
    client = import_mlflow().MlflowClient(store)
    experiment = client.get_experiment_by_name("deleted").experiment_id
    client.delete_experiment(experiment)
    tracker.record(event(2, "deleted"))
    fail_exports(tracker, 1)
    assert "mlflow experiments restore" in tracker.stats()["last_error"]
    assert tracker.stats()["quarantined"] == 0
    client.restore_experiment(experiment)
    assert tracker.flush(60)
    tracker.close()
    assert len(traces(store, "deleted")) == 2


@pytest.mark.req("EX-8")
def test_each_day_has_its_run_and_the_one_before_is_ended(store: str, tmp_path: Path) -> None:
    made, client = exporter(store, tmp_path, "days"), import_mlflow().MlflowClient(store)
    for number in range(3):
        made.export([event(number, "days", started=1.8e9 + number * 86_400)])
    runs = client.search_runs([client.get_experiment_by_name("days").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "RUNNING"]
    assert len({run.info.run_name for run in runs}) == 3
    made.close()
    runs = client.search_runs([client.get_experiment_by_name("days").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}


@contextmanager
def served(status: int, body: bytes, kind: str) -> Iterator[str]:
    """A server that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - names of the library

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


ANSWERS = [
    (200, b"<html>please log in</html>", "text/html"),
    (200, b"{}", "application/json"),
    (200, b"[]", "application/json"),
    (404, b"nothing here", "text/plain"),
    (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "application/json"),
]


@pytest.mark.req("EX-8")
@pytest.mark.parametrize(("status", "body", "kind"), ANSWERS)
def test_a_server_that_answers_nonsense_loses_nothing(
    status: int, body: bytes, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking = TrackingOptions(tmp_path, retry_s=0.01, close_s=0.5)
    with served(status, body, kind) as uri:
        tracker = make_tracker(MlflowOptions(uri=uri), tracking)
        tracker.record(event(1, "x"))
        fail_exports(tracker, 3)
        stats = tracker.stats()
        tracker.close()
    assert (stats["exported"], stats["dropped"], stats["quarantined"]) == (0, 0, 0)
    assert stats["waiting_bytes"] > 0
    assert capfd.readouterr().out == "", "the standard output is the caller's"
    kept: list[Any] = []

    class Keeping:
        def export(self, events: Any) -> None:
            kept.extend(events)

        def close(self) -> None: ...

    after = JournaledTracker(TrackingOptions(tmp_path), Keeping)
    after.record(event(2, "x"))
    assert after.flush(30)
    after.close()
    assert [found["id"] for found in kept] == ["x-1", "x-2"]


@pytest.mark.req("EX-8")
def test_a_server_that_is_down_is_known_at_once_and_not_through_mlflow_s_retries(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        check_reachable(uri)
    with pytest.raises(ConnectionRefusedError):
        check_reachable(uri)
    tracker = make_tracker(MlflowOptions(uri=uri), TrackingOptions(tmp_path, retry_s=0.01, close_s=0.1))
    with caplog.at_level(logging.WARNING):
        tracker.record(event(1, "x"))
        fail_exports(tracker, 1)
    assert "Connection refused" in tracker.stats()["last_error"]
    tracker.close()


@pytest.mark.req("EX-8")
def test_autolog_into_a_server_that_is_down_fails_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    with caplog.at_level(logging.WARNING):
        make_tracker(MlflowOptions(uri=uri, autolog=True), TrackingOptions(tmp_path, close_s=0.1)).close()
    assert "mlflow.dspy.autolog failed" in caplog.text


@pytest.mark.req("EX-8")
@pytest.mark.parametrize("uri", ["sqlite:////no/such.db", "postgresql://h/db", "databricks", "./folder", ""])
def test_what_is_no_server_is_not_connected_to(uri: str) -> None:
    check_reachable(uri)


@pytest.mark.req("EX-8")
def test_a_deleted_experiment_is_the_user_s_to_restore(store: str, tmp_path: Path) -> None:
    client = import_mlflow().MlflowClient(store)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(BridgeError, match="restore"):
        exporter(store, tmp_path, "gone")


@pytest.mark.req("EX-8")
def test_a_folder_for_artifacts_may_be_relative(store: str) -> None:
    MlflowExporter(MlflowOptions(uri=store, experiment="relative", artifacts=Path("artifacts"))).close()
    found = import_mlflow().MlflowClient(store).get_experiment_by_name("relative")
    assert found.artifact_location.endswith(str(Path.cwd() / "artifacts"))
