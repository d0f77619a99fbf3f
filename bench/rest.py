"""`POST /execute` of one server process beside FastAPI with `acall`, and with ``mlflow`` beside `mlflow models serve`.

Validation, retries, breaker, history and statistics are on; the result cache is off on all sides. The embedded LM.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASELINES = ROOT / "bench" / "baselines"
sys.path[:0] = [str(ROOT), str(BASELINES)]

from http_load import measure  # noqa: E402

SIGNATURE = "context, question -> answer"
INPUTS = {"context": "The mill is red. The barn is green.", "question": "How is the barn?"}
ROUNDS = 5
COUNTS = {1: 80, 16: 320, 64: 320}
NAMES = {"fastapi_acall.py": ("FastAPI with acall", "1.5"), "mlflow_serve.py": ("mlflow models serve", "10")}


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Give the port of a server of ours."""
    (folder / "qa.json").write_text(json.dumps({"format": 1, "kind": "predict", "signature": SIGNATURE}))
    flags = ["--port", "0", "--programs", str(folder), "--state", str(folder / "state"), "--no-cache"]
    command = [sys.executable, "-m", "python_bridge", "serve", "--lm", "offline/extractive", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            yield int(line.rpartition(":")[2])
        finally:
            process.terminate()


@contextmanager
def baseline(script: str) -> Iterator[Any]:
    """Give a function of count and concurrency that returns the microseconds of a baseline."""
    command = [sys.executable, str(BASELINES / script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:

        def ask(count: int, concurrent: int) -> float:
            order = {"count": count, "concurrent": concurrent, "signature": SIGNATURE, "inputs": INPUTS}
            body = json.dumps(order).encode()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(len(body).to_bytes(4, "big") + body)
            process.stdin.flush()
            head = process.stdout.read(4)
            return json.loads(process.stdout.read(int.from_bytes(head, "big")))[0]

        try:
            yield ask
        finally:
            # It ends with its input, and its server with it, which a signal to it would leave behind.
            if process.stdin is not None:
                process.stdin.close()


def main() -> None:
    script = "mlflow_serve.py" if sys.argv[1:] == ["mlflow"] else "fastapi_acall.py"
    name, goal = NAMES[script]
    payload = {"program_id": "qa", "inputs": INPUTS}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as port, baseline(script) as ask:
        for concurrent, count in COUNTS.items():
            ours: list[float] = []
            theirs: list[float] = []
            for number in range(-1, ROUNDS):
                took = asyncio.run(measure(port, "/api/v1/dspy/execute", payload, count, concurrent))
                other = ask(count, concurrent)
                if number >= 0:  # the first one warms up
                    ours.append(count / took * 1e6)
                    theirs.append(count / other * 1e6)
            row = {"id": "rest", "name": f"REST execute, {concurrent} at a time, over {name}", "unit": "1/s"}
            row |= {"samples": ours, "baseline": theirs, "goal": f"ratio >= {goal}"}
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
