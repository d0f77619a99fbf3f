"""Executions → MLflow: traces in batches, and metrics of runs that group executions."""

import contextlib
import json
import logging
import os
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import LRUCache

from python_bridge.errors import BridgeError
from python_bridge.tracking.journaled import Refused
from python_bridge.tracking.reachable import check_reachable
from python_bridge.tracking.spans import SpanData, spans_of
from python_bridge.tracking.versions import logged_model_id

INSTALL = "pip install 'python-bridge[mlflow]'"
_METRICS_A_BATCH = 1000
_SAMPLES = 5
_SAMPLE_CHARS = 100
_PREVIEW_CHARS = 1000
_KEY = "dspex.run_key"
_NAME_CHARS = 250  # MLflow's bound of a session's id; it takes longer names of runs, and shows none of them whole
_MAX_RUNS = 1000
_NOT_IN_NAMES = re.compile(r"[^\w.\- :/]")
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


@dataclass(frozen=True, slots=True)
class MlflowOptions:
    """Where executions go.

    Attributes:
        uri: ``"sqlite:///…"`` or the address of a server.
        artifacts: folder for the artifacts of an experiment that is made here in a SQLite store.
        run_per_execution: a run for each execution, instead of one a process, program and day; it costs MLflow
            10 to 40 ms each.
        runs: whether there are runs with parameters and metrics beside the traces; the package ``mlflow-tracing`` alone
            can make none.
        autolog: whether `mlflow.dspy.autolog` is switched on as well, for programs run without the executor.
    """

    uri: str
    experiment: str = "dspex"
    artifacts: Path | None = None
    run_per_execution: bool = False
    runs: bool = True
    autolog: bool = False


def import_mlflow() -> Any:
    """Return the module `mlflow`, imported without telemetry.

    Raises:
        BridgeError: `unavailable` with the line to run.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_MODEL_CATALOG_URI", "")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import mlflow
    except ImportError as error:
        raise BridgeError("unavailable", f"mlflow is not installed in this Python ({error}); run: {INSTALL}") from error
    return mlflow


_found: LRUCache[tuple[str, str], str] = LRUCache(64)
"""Ids of experiments that were looked up."""


def find_experiment(client: Any, options: MlflowOptions) -> str:
    """Return the id of the experiment, which is made when it is not there.

    Args:
        client: `mlflow.MlflowClient`, or a store of MLflow's, which has the same methods.

    Raises:
        BridgeError: `unavailable` while the experiment is deleted: it is the user's to say where executions go.
    """
    found = _find_experiment(client, options)
    _found[options.uri, options.experiment] = found
    return found


def _find_experiment(client: Any, options: MlflowOptions) -> str:
    found = client.get_experiment_by_name(options.experiment)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            text = f"the experiment {options.experiment!r} is deleted; run `mlflow experiments restore --experiment-id "
            raise BridgeError("unavailable", f"{text}{found.experiment_id}`, or name another (MLFLOW_EXPERIMENT_NAME)")
        return found.experiment_id
    artifacts = options.artifacts.absolute().as_uri() if options.artifacts else None
    try:
        return client.create_experiment(options.experiment, artifact_location=artifacts)
    except Exception:  # another process was quicker
        found = client.get_experiment_by_name(options.experiment)
        if found is None:
            raise
        return found.experiment_id


def end_run(store: Any, run: str, status: str) -> None:
    """End a run. MLflow's clients would print its address on the standard output, which is the caller's."""
    from mlflow.entities import RunStatus

    store.update_run_info(run, RunStatus.from_string(status), int(time.time() * 1000), None)


_autologged = False


def enable_autolog(options: MlflowOptions) -> None:
    """Switch `mlflow.dspy.autolog` on, once a process. DSPy wants this in the thread that configures it.

    Raises:
        BridgeError: `unavailable` when MLflow is missing.
    """
    global _autologged
    if _autologged:
        return
    check_reachable(options.uri)
    mlflow = import_mlflow()
    mlflow.set_tracking_uri(options.uri)
    mlflow.set_experiment(experiment_id=find_experiment(mlflow.MlflowClient(options.uri), options))
    mlflow.dspy.autolog()
    _autologged = True


def is_autolog_into(options: MlflowOptions, callback: Any) -> bool:
    """Whether a callback of DSPy's is that of `mlflow.dspy.autolog`, and makes traces of its own in this experiment.

    Below a span of the caller's it makes none of its own, and stays.
    """
    if not type(callback).__module__.startswith("mlflow."):
        return False
    import mlflow
    from mlflow.tracking import fluent

    if mlflow.get_current_active_span() is not None or mlflow.get_tracking_uri() != options.uri:
        return False
    # Nothing is asked of the server: this is in the way of a call. The first few may be told twice.
    active = getattr(fluent, "_active_experiment_id", None) or os.environ.get("MLFLOW_EXPERIMENT_ID")
    if active is None:
        return (os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default") == options.experiment
    return active == _found.get((options.uri, options.experiment))


class MlflowExporter:
    """See `Exporter`. Used by one thread."""

    def __init__(self, options: MlflowOptions) -> None:
        """
        Raises:
            BridgeError: `unavailable` when MLflow is missing.
            Exception: what MLflow raises when its store cannot be opened.
        """
        check_reachable(options.uri)
        mlflow = import_mlflow()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        from mlflow.tracing.client import TracingClient

        self._options = options
        self._traces = TracingClient(options.uri)
        # The package mlflow-tracing has no client of the rest.
        runs = options.runs and hasattr(mlflow, "MlflowClient")
        self._client: Any = mlflow.MlflowClient(options.uri) if runs else None
        self._experiment = find_experiment(self._client or self._traces.store, options)
        self._runs: dict[str, str] = {}

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        """Export a batch; the same one twice leaves one trace and one value each.

        Raises:
            Refused: MLflow works, and does not take what is in the batch.
            Exception: whatever MLflow raises when it does not work.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._export(events)
        except MlflowException as error:
            if error.error_code in _REFUSALS:
                raise Refused(str(error)) from error
            raise
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError | OSError):  # the server's answer
                raise
            raise Refused(str(error)) from error

    def _export(self, events: Sequence[dict[str, Any]]) -> None:
        check_reachable(self._options.uri)
        grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in events:
            grouped[self._run_key(event)].append(event)
        spans: list[Any] = []
        models: dict[str, str | None] = {}
        for key, members in grouped.items():
            run = self._log_run(key, members)
            for event in members:
                tags = {"mlflow.traceName": event["program"][:_NAME_CHARS], "execution_id": event["id"], **run}
                tags |= {name: str(value)[:_NAME_CHARS] for name, value in event.get("labels", {}).items()}
                if event["mode"] != "normal":  # each tag takes MLflow a tenth of what it needs for a trace
                    tags["mode"] = event["mode"]
                data = list(spans_of(event, tags))
                self._start_trace(event, data[0], models)
                spans += [_span(item) for item in data]
        self._traces.log_spans(self._experiment, spans)

    def _log_run(self, key: str, members: Sequence[dict[str, Any]]) -> dict[str, str]:
        """Write the run of `members`; return the tag by which their traces name it."""
        if self._client is None:
            return {}
        run = self._run(key, members[0])
        self._log_metrics(run, members)
        if self._options.run_per_execution:
            end_run(self._traces.store, run, "FINISHED" if members[0]["success"] else "FAILED")
            del self._runs[key]
        return {"run_id": run}

    def _start_trace(self, event: dict[str, Any], root: SpanData, models: dict[str, str | None]) -> None:
        """Write what spans cannot carry: the caller's id, and the link to a model. It costs a request of its own."""
        labels = event.get("labels", {})
        model = labels.get("model_id")
        if self._client is not None and model not in models and str(model).startswith("models:/"):
            models[model] = logged_model_id(self._client, model)  # for every batch: an alias may move
        linked = models.get(model)
        if linked is not None or "client_request_id" in labels:
            info = _trace_info(
                self._experiment, root, (labels.get("client_request_id") or "")[:_NAME_CHARS] or None, linked
            )
            self._traces.start_trace(info)

    def close(self) -> None:
        """End the runs that group executions."""
        if not self._options.run_per_execution:
            self._finish(list(self._runs))
        self._runs.clear()

    def _finish(self, keys: Sequence[str]) -> None:
        for key in keys:
            with contextlib.suppress(Exception):  # somebody has deleted it; the others end all the same
                end_run(self._traces.store, self._runs.pop(key), "FINISHED")

    def _run_key(self, event: dict[str, Any]) -> str:
        if self._options.run_per_execution:
            return event["id"]
        day = time.strftime("%Y-%m-%d", time.gmtime(event["started"]))
        return f"{event['id'].partition('-')[0]}/{event['program'][:_NAME_CHARS]}/{day}"

    def _run(self, key: str, first: dict[str, Any]) -> str:
        """Return the run of a key: one of this exporter's, one that an earlier process began, or a new one."""
        if (run := self._runs.get(key)) is not None:
            return run
        if not self._options.run_per_execution:
            day = key.rpartition("/")[2]
            over = [known for known in self._runs if known.rpartition("/")[2] < day]
            self._finish(over if len(self._runs) < _MAX_RUNS else list(self._runs))
        found = self._client.search_runs([self._experiment], f"tags.`{_KEY}` = '{_quoted(key)}'", max_results=1)
        if found:
            run = found[0].info.run_id
        else:
            tags = {_KEY: _quoted(key), "dspex.pid": str(os.getpid())}
            last = first["id"] if self._options.run_per_execution else key.rpartition("/")[2]
            name = f"{first['program'][:_NAME_CHARS]} {last}"
            made = self._client.create_run(self._experiment, int(first["started"] * 1000), tags, name)
            run = made.info.run_id
            self._log_params(run, first)
        self._runs[key] = run
        return run

    def _log_params(self, run: str, event: dict[str, Any]) -> None:
        from mlflow.entities import Param

        params = {
            "program_name": event["program"][:_NAME_CHARS],
            "mode": event["mode"],
            "input_keys": ",".join(event["inputs"])[:_SAMPLE_CHARS],
            **{
                f"output_{_NOT_IN_NAMES.sub('_', name)[:_SAMPLE_CHARS]}": str(value)[:_SAMPLE_CHARS]
                for name, value in list((event["outputs"] or {}).items())[:_SAMPLES]
            },
        }
        if "model_id" in event.get("labels", {}):
            params["model_id"] = str(event["labels"]["model_id"])[:_SAMPLE_CHARS]
        self._client.log_batch(run, params=[Param(name, value) for name, value in params.items()])

    def _log_metrics(self, run: str, events: Sequence[dict[str, Any]]) -> None:
        from mlflow.entities import Metric

        metrics = []
        for event in events:
            at, step = int(event["started"] * 1000), int(event["id"].rpartition("-")[2], 16)
            metrics.append(Metric("execution_time", event["seconds"], at, step))
            metrics.append(Metric("success", 1.0 if event["success"] else 0.0, at, step))
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + _METRICS_A_BATCH])


def _trace_info(experiment: str, root: SpanData, client_request_id: str | None, model: str | None) -> Any:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState
    from mlflow.tracing.constant import TraceMetadataKey

    metadata = {"mlflow.trace_schema.version": "3", TraceMetadataKey.SOURCE_RUN: root.tags.get("run_id")}
    metadata |= {TraceMetadataKey.MODEL_ID: model, TraceMetadataKey.TRACE_SESSION: root.tags.get("session_id")}
    return TraceInfo(
        trace_id=f"tr-{root.trace:032x}",
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=root.start // 1_000_000,
        state=TraceState.OK if root.error is None else TraceState.ERROR,
        request_preview=json.dumps(root.inputs, default=str)[:_PREVIEW_CHARS],
        response_preview=json.dumps(root.outputs, default=str)[:_PREVIEW_CHARS],
        client_request_id=client_request_id,
        execution_duration=(root.end - root.start) // 1_000_000,
        trace_metadata={name: value for name, value in metadata.items() if value is not None},
        tags=dict(root.tags),
    )


def _quoted(text: str) -> str:
    return text.replace("'", "_").replace("\\", "_")


def _span(data: SpanData) -> Any:
    from mlflow.entities.span import Span
    from mlflow.tracing.constant import SpanAttributeKey
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode

    attributes: dict[str, Any] = {
        SpanAttributeKey.REQUEST_ID: f"tr-{data.trace:032x}",
        SpanAttributeKey.SPAN_TYPE: data.kind,
        SpanAttributeKey.INPUTS: data.inputs,
        SpanAttributeKey.OUTPUTS: data.outputs,
        **{f"{SpanAttributeKey.TRACE_TAG_PREFIX}{name}": value for name, value in data.tags.items()},
    }
    if data.usage is not None:
        attributes[SpanAttributeKey.CHAT_USAGE] = data.usage
    if data.cost is not None:
        attributes[SpanAttributeKey.LLM_COST] = {"total_cost": data.cost}
    if (session := data.tags.get("session_id")) is not None:
        attributes[SpanAttributeKey.SESSION_ID] = session
    flags = TraceFlags(TraceFlags.SAMPLED)
    return Span(
        ReadableSpan(
            data.name,
            context=SpanContext(data.trace, data.id, False, flags),
            parent=SpanContext(data.trace, data.parent, False, flags) if data.parent is not None else None,
            start_time=data.start,
            end_time=data.end,
            attributes={name: json.dumps(value) for name, value in attributes.items()},
            status=Status(StatusCode.OK) if data.error is None else Status(StatusCode.ERROR, data.error),
            resource=Resource({}),
        )
    )


__all__ = [
    "INSTALL",
    "MlflowExporter",
    "MlflowOptions",
    "enable_autolog",
    "end_run",
    "find_experiment",
    "import_mlflow",
    "is_autolog_into",
]
