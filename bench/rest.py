"""`POST /execute` beside FastAPI with `acall`, with ``mlflow`` beside `mlflow models serve`: one process of each. With
``workers`` two processes of ours, beside one and beside two of MLflow's.

Validation, retries, breaker, history and statistics are on; the result cache is off on all sides. The embedded LM. The
processor time of a request is told beside each row: of the servers, and of what asks them.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "bench" / "baselines"
sys.path[:0] = [str(ROOT), str(BASELINES)]

from http_load import measure  # noqa: E402

SIGNATURE = "context, question -> answer"
INPUTS = {"context": "The mill is red. The barn is green.", "question": "How is the barn?"}
ROUNDS = 5
WARM_UP = 500  # Python and DSPy take some hundred requests until they are as quick as they get
COUNTS = {1: 160, 16: 320, 64: 320}


@dataclass(frozen=True, slots=True)
class Beside:
    """A baseline: its script and that one's processes, how it is called, the goal, and how many processes we take."""

    script: str
    name: str
    goal: str = ""
    theirs: int = 1
    ours: int = 1


CASES = {
    "fastapi": [Beside("fastapi_acall.py", "FastAPI with acall", "ratio >= 1.5")],
    "mlflow": [Beside("mlflow_serve.py", "mlflow models serve", "ratio >= 10")],
    "workers": [
        Beside("mlflow_serve.py", "mlflow models serve", "ratio >= 10", ours=2),
        Beside("mlflow_serve.py", "mlflow models serve with two workers", theirs=2, ours=2),
    ],
}


def spent(process: psutil.Process, own: bool) -> float:
    """Return the processor seconds of the processes that a process has, and of itself where it is the server."""
    found = [*process.children(recursive=True), *([process] if own else [])]
    times = [one.cpu_times() for one in found]
    return sum(one.user + one.system for one in times)


@contextmanager
def serving(folder: Path, workers: int = 1) -> Iterator[tuple[int, psutil.Process]]:
    """Give the port of a server of ours, and its process."""
    (folder / "qa.json").write_text(json.dumps({"format": 1, "kind": "predict", "signature": SIGNATURE}))
    flags = [
        "--port",
        "0",
        "--programs",
        str(folder),
        "--state",
        str(folder / "state"),
        "--no-cache",
        "--workers",
        str(workers),
    ]
    start = ["serve", "--lm", "offline/extractive", "--workers", str(workers)]
    command = [sys.executable, "-m", "python_bridge", *start, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            port = int(line.rpartition(":")[2])
            while answering(port) < workers:
                time.sleep(0.1)
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def answering(port: int) -> int:
    """Return how many processes of a server answer."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/dspy/health", timeout=60) as response:
        return json.load(response)["workers_answering"]


@contextmanager
def baseline(script: str, workers: int) -> Iterator[tuple[Any, psutil.Process]]:
    """Give a function of count and concurrency that returns the microseconds of a baseline, and what asks it."""
    command = [sys.executable, str(BASELINES / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:

        def ask(count: int, concurrent: int) -> float:
            order = {"count": count, "concurrent": concurrent, "signature": SIGNATURE, "inputs": INPUTS}
            body = json.dumps({**order, "workers": workers}).encode()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(len(body).to_bytes(4, "big") + body)
            process.stdin.flush()
            head = process.stdout.read(4)
            return json.loads(process.stdout.read(int.from_bytes(head, "big")))[0]

        try:
            yield ask, psutil.Process(process.pid)
        finally:
            # It ends with its input, and its server with it, which a signal to it would leave behind.
            if process.stdin is not None:
                process.stdin.close()


def compare(beside: Beside, folder: Path) -> None:
    """Print a row for each concurrency, and the processor time of its requests."""
    payload = {"program_id": "qa", "inputs": INPUTS}
    with serving(folder, beside.ours) as (port, server), baseline(beside.script, beside.theirs) as (ask, asking):
        asyncio.run(measure(port, "/api/v1/dspy/execute", payload, WARM_UP, 16))
        ask(WARM_UP, 16)
        for concurrent, count in COUNTS.items():
            ours: list[float] = []
            theirs: list[float] = []
            processor = [0.0, 0.0, 0.0]
            for number in range(-1, ROUNDS):
                before = spent(server, True), spent(asking, False), time.process_time()
                took = asyncio.run(measure(port, "/api/v1/dspy/execute", payload, count, concurrent))
                asked = time.process_time()
                other = ask(count, concurrent)
                after = spent(server, True), spent(asking, False), asked
                if number >= 0:  # the first one warms up
                    ours.append(count / took * 1e6)
                    theirs.append(count / other * 1e6)
                    processor = [sum(times) for times in zip(processor, map(float.__sub__, after, before), strict=True)]
            processes = f" with {beside.ours} processes" if beside.ours > 1 else ""
            row = {"id": "rest", "name": f"REST execute{processes}, {concurrent} at a time, over {beside.name}"}
            row |= {"unit": "1/s", "samples": ours, "baseline": theirs, "goal": beside.goal, "better": "higher"}
            us = [f"{seconds / ROUNDS / count * 1e6:.0f} us" for seconds in processor]
            sys.stdout.write(f"processor time of a request: ours {us[0]}, theirs {us[1]}, asking {us[2]}\n")
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


def main() -> None:
    for beside in CASES[sys.argv[1] if sys.argv[1:] else "fastapi"]:
        with tempfile.TemporaryDirectory() as folder:
            compare(beside, Path(folder))


if __name__ == "__main__":
    main()
