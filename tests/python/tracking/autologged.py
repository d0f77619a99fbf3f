"""Runs in a process of its own: autolog stays on for good.

Prints the names of the traces that were left, and every address that was connected to or looked up meanwhile.
"""

import os
import sys
from pathlib import Path
from typing import Any

asked: list[Any] = []
sys.addaudithook(
    lambda name, given: asked.append((name, given)) if name in ("socket.connect", "socket.getaddrinfo") else None
)
# What keeps MLflow's telemetry off in suites.
for variable in [name for name in os.environ if name.startswith(("PYTEST", "CI", "GITHUB", "MLFLOW", "DO_NOT_TRACK"))]:
    del os.environ[variable]

import dspy  # noqa: E402

from python_bridge import DSPyPipelineExecutor  # noqa: E402
from python_bridge.testing.scripted import ScriptedLM  # noqa: E402
from python_bridge.tracking.journaled import TrackingOptions  # noqa: E402
from python_bridge.tracking.make import make_tracker  # noqa: E402
from python_bridge.tracking.mlflow_exporter import MlflowOptions, import_mlflow  # noqa: E402

uri, folder = sys.argv[1], Path(sys.argv[2])
dspy.configure(lm=ScriptedLM(default={"a": "x"}).lm)
options = MlflowOptions(uri=uri, experiment="autologged", artifacts=folder / "artifacts", autolog=True)
for name in ("one", "two"):
    make_tracker(options, TrackingOptions(folder / name)).close()
dspy.Predict("q -> a")(q="1")
mlflow = import_mlflow()
tracker = make_tracker(options, TrackingOptions(folder / "three"))
with DSPyPipelineExecutor(tracker=tracker) as executor:
    for number in range(2):
        assert executor.execute(dspy.Predict("q -> a"), inputs={"q": str(number)}).success
    with mlflow.start_span("caller"):
        assert executor.execute(dspy.Predict("q -> a"), inputs={"q": "below"}).success
    assert tracker.flush(120), tracker.stats()
mlflow.flush_trace_async_logging()
print(sorted(trace.data.spans[0].name for trace in mlflow.search_traces(return_type="list")))
from mlflow.telemetry.utils import is_telemetry_disabled  # noqa: E402

print(f"telemetry off: {is_telemetry_disabled()}, asked: {asked}")
