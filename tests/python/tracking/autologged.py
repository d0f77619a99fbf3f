"""Runs in a process of its own: autolog stays on for good. Prints how many traces a bare program left."""

import sys
from pathlib import Path

import dspy

from python_bridge.testing.scripted import ScriptedLM
from python_bridge.tracking.journaled import TrackingOptions
from python_bridge.tracking.make import make_tracker
from python_bridge.tracking.mlflow_exporter import MlflowOptions, import_mlflow

uri, folder = sys.argv[1], Path(sys.argv[2])
dspy.configure(lm=ScriptedLM(default={"a": "x"}).lm)
options = MlflowOptions(uri=uri, experiment="autologged", artifacts=folder / "artifacts", autolog=True)
for name in ("one", "two"):
    make_tracker(options, TrackingOptions(folder / name)).close()
dspy.Predict("q -> a")(q="1")
mlflow = import_mlflow()
mlflow.flush_trace_async_logging()
print(len(mlflow.search_traces(return_type="list")))
