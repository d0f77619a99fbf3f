"""A step of a Metaflow flow that runs a program for a list of questions, through the REST API.

As a flow, with Metaflow installed, and without it as a plain script:

    python examples/metaflow_step.py run --server http://127.0.0.1:8000
    DSPEX_SERVER=http://127.0.0.1:8000 python examples/metaflow_step.py

`DSPEX_TOKEN` is the server's token, `DSPEX_PROGRAM` the program's id (`qa`). A step that Metaflow runs again
(`@retry`) sends the same idempotency key, so that what was answered is not paid for twice.
"""

import hashlib
import json
import os
from typing import Any

from python_bridge.client import Client

try:
    from metaflow import FlowSpec, Parameter, current, retry, step
except ImportError:
    FlowSpec = None

QUESTIONS = ["What is a bridge?", "What is a canal?"]


def answer_all(server: str, questions: list[str], run_id: str = "") -> list[dict[str, Any]]:
    """Return one plain result for each question; a failed one has ``success`` false, and fails nothing else.

    Args:
        run_id: the same for every attempt of one run.
    """
    inputs = [{"question": question} for question in questions]
    key = hashlib.sha256(json.dumps([run_id, questions]).encode()).hexdigest() if run_id else None
    with Client(server, os.environ.get("DSPEX_TOKEN")) as client:
        results = client.execute_batch(os.environ.get("DSPEX_PROGRAM", "qa"), inputs, idempotency_key=key)
    return [result.to_dict() for result in results]


def report(results: list[dict[str, Any]]) -> None:
    """Print a line of JSON for each result."""
    for result in results:
        print(json.dumps({"success": result["success"], "outputs": result["outputs"], "error": result["error"]}))


if FlowSpec is not None:

    class AnswerFlow(FlowSpec):
        """Answers the questions in one step."""

        server = Parameter("server", default=os.environ.get("DSPEX_SERVER", "http://127.0.0.1:8000"))

        @retry(times=2)
        @step
        def start(self) -> None:
            """Run the batch; results are plain data, so that Metaflow can keep them."""
            self.results = answer_all(self.server, QUESTIONS, run_id=current.run_id)
            self.next(self.end)

        @step
        def end(self) -> None:
            """Print what came out."""
            report(self.results)


def main() -> None:
    """Run the flow, or the function alone."""
    if FlowSpec is not None:
        AnswerFlow()
    else:
        report(answer_all(os.environ.get("DSPEX_SERVER", "http://127.0.0.1:8000"), QUESTIONS))


if __name__ == "__main__":
    main()
