"""P8: a worker from the fork server to its first Predict, against a fresh process; and the memory of each more one."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "python")]

from links import forked_client, python_process  # noqa: E402

from python_bridge.testing.client import BridgeClient  # noqa: E402

PROGRAM = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
INPUTS = {"context": "The mill is red. The barn is green.", "question": "How is the barn?"}
CALL = {"program": PROGRAM, "inputs": INPUTS}
LM = "--lm=offline/extractive"
ROUNDS = 7


def pss(pid: int) -> float:
    """Return the proportional share of memory of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


async def forked(server: BridgeClient, stack: list[Any]) -> tuple[float, int]:
    """Return milliseconds to the first answer of a new fork, and its process id; it lives on."""
    started = time.perf_counter()
    child = await server.request("fork")
    connection = forked_client(child)
    client = await connection.__aenter__()
    stack.append(connection)
    await client.ready()
    await client.request("call", CALL)
    return (time.perf_counter() - started) * 1000, child["pid"]


async def fresh() -> tuple[float, float]:
    """Return milliseconds to the first answer of a fresh process, and its memory."""
    started = time.perf_counter()
    client = BridgeClient()
    async with python_process(client, "-m", "python_bridge", "worker", LM) as process:
        await client.ready()
        await client.request("call", CALL)
        taken = (time.perf_counter() - started) * 1000
        return taken, pss(process.pid)


async def main() -> None:
    times: list[float] = []
    fresh_runs: list[tuple[float, float]] = []
    server = BridgeClient()
    children: list[int] = []
    stack: list[Any] = []
    async with python_process(server, "-m", "python_bridge", "fork-server", LM) as parent:
        await server.ready()
        before = 0.0
        for round_ in range(-1, ROUNDS):
            taken, pid = await forked(server, stack)
            children.append(pid)
            fresh_runs.append(await fresh())
            if round_ >= 0:
                times.append(taken)
            else:
                before = pss(parent.pid) + pss(pid)
        extra = (pss(parent.pid) + sum(map(pss, children)) - before) / ROUNDS
        for connection in stack:
            await connection.__aexit__(None, None, None)
    fresh_runs = fresh_runs[1:]
    for name, unit, goal, samples, baseline in (
        ("fork to first Predict, over a fresh process", "ms", "value <= 30", times, [run[0] for run in fresh_runs]),
        ("PSS of one more fork, over a fresh process", "MB", "ratio <= 0.5", [extra], [run[1] for run in fresh_runs]),
    ):
        report = {"id": "P8", "name": name, "unit": unit, "goal": goal, "samples": samples, "baseline": baseline}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
