"""Start of a worker as a fresh process: to the answer of `initialize`, and to `ready`.

Baselines of the same run: an interpreter that does nothing, and one that imports dspy.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any

ROUNDS = 7
INITIALIZE = {"protocol_versions": [1], "client": {"name": "bench", "version": "0"}, "encodings": ["json"]}


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any]:
    head = stream.read(4)
    if len(head) < 4:
        raise SystemExit("the worker ended before it was ready")
    return json.loads(stream.read(int.from_bytes(head, "big")))


def start_worker() -> tuple[float, float]:
    """Return milliseconds to the answer of `initialize` and to `ready`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "python_bridge", "worker"]
    env = {**os.environ, "DSPEX_LM": "offline/extractive"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        send(process.stdin, {"id": 0, "method": "initialize", "params": INITIALIZE})
        if "result" not in (answer := receive(process.stdout)):
            raise SystemExit(f"initialize was refused: {answer}")
        answered = time.perf_counter()
        while receive(process.stdout).get("method") != "ready":
            continue
        ready = time.perf_counter()
        send(process.stdin, {"id": 1, "method": "shutdown", "params": {"grace_ms": 0}})
        process.stdin.close()
    return (answered - started) * 1000, (ready - started) * 1000


def run_interpreter(code: str) -> float:
    """Return milliseconds of an interpreter that runs `code`."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


def paired(rounds: int, *measures: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """Run all measures in turns; the first round warms the page cache and is dropped."""
    return [tuple(measure() for measure in measures) for _ in range(rounds + 1)][1:]


def main() -> None:
    rounds = paired(
        ROUNDS,
        start_worker,
        lambda: run_interpreter("pass"),
        lambda: run_interpreter("import dspy"),
    )
    workers, empty, imported = zip(*rounds, strict=True)
    for name, samples, baseline in (
        ("start to initialize answered ÷ empty interpreter", [worker[0] for worker in workers], empty),
        ("start to ready ÷ import dspy", [worker[1] for worker in workers], imported),
    ):
        report = {"id": "start", "name": name, "unit": "ms", "samples": samples, "baseline": baseline}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
