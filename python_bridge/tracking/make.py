"""Trackers by the environment: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`."""

import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from python_bridge.tracking.interface import NullTracker, Tracker
from python_bridge.tracking.journaled import Exporter, JournaledTracker, TrackingOptions, told
from python_bridge.tracking.mlflow_exporter import (
    INSTALL,
    MlflowExporter,
    MlflowOptions,
    enable_autolog,
    is_autolog_into,
)

logger = logging.getLogger("python_bridge.tracking")


_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


def bound_requests() -> None:
    """Bound MLflow's requests in a process that is the bridge's own, unless the environment says otherwise.

    By default a server that answers with errors holds a request for minutes, and one that hangs for a quarter of an
    hour; the journal asks again by itself.
    """
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)


def tracker_from_environment(environ: Mapping[str, str] | None = None) -> Tracker:
    """Return a tracker into the MLflow that the environment names, else into a SQLite file of the user's own.

    Without MLflow, or without a place for the journal, nothing is tracked, and the log says what to do.
    """
    environ = os.environ if environ is None else environ
    if importlib.util.find_spec("mlflow") is None:
        logger.warning("executions are not tracked: mlflow is not installed; run: %s", INSTALL)
        return NullTracker()
    home = Path(environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "dspex"
    uri = environ.get("MLFLOW_TRACKING_URI")
    if not uri and not _whole_mlflow():
        logger.warning(
            "executions are not tracked: mlflow-tracing needs a server; set MLFLOW_TRACKING_URI, or run: %s", INSTALL
        )
        return NullTracker()
    options = MlflowOptions(
        uri=uri or f"sqlite:///{home / 'mlflow.db'}",
        experiment=environ.get("MLFLOW_EXPERIMENT_NAME") or "dspex",
        artifacts=None if uri else home / "mlflow-artifacts",
    )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return make_tracker(options, TrackingOptions(home / "journal"))
    except OSError as error:
        logger.warning("executions are not tracked: the journal in %s cannot be made: %s", home, error)
        return NullTracker()


def _whole_mlflow() -> bool:
    """Whether there is more than the package mlflow-tracing, which writes to servers alone."""
    try:
        return bool(importlib.metadata.version("mlflow"))
    except importlib.metadata.PackageNotFoundError:
        return importlib.util.find_spec("mlflow.models") is not None


def make_tracker(mlflow: MlflowOptions, tracking: TrackingOptions) -> JournaledTracker:
    """Return a tracker into MLflow; MLflow is imported in the tracker's thread, when there is something to export.

    Raises:
        OSError: the journal's folder cannot be made.
    """

    if mlflow.autolog:
        try:
            enable_autolog(mlflow)
        except Exception as error:  # a server that is down, or another thread that has configured DSPy
            logger.warning(
                "programs outside of the executor are not tracked: mlflow.dspy.autolog failed: %s", told(error)
            )

    def make_exporter() -> Exporter:
        return MlflowExporter(mlflow)

    return JournaledTracker(tracking, make_exporter, lambda callback: is_autolog_into(mlflow, callback))


__all__ = ["bound_requests", "make_tracker", "tracker_from_environment"]
