"""The executor beside bare DSPy: cache hits, misses, batches, and what tracking costs.

Times are of the processor, which other work on the machine disturbs least, except for what is drained.
"""

import asyncio
import gc
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dspy
import psutil
import uvloop

from python_bridge import DSPyPipelineExecutor
from python_bridge.engine.offline.lm import Reply, local_lm
from python_bridge.tracking.journaled import JournaledTracker, TrackingOptions
from python_bridge.tracking.make import make_tracker
from python_bridge.tracking.mlflow_exporter import MlflowOptions, import_mlflow

ROUNDS = 7
CALLS = 400
TRACKED_CALLS = 2_000
TRACKED = 10_000 if os.environ.get("FULL") else 1_000
ANSWER = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]\n"


async def _no_wait(_number: int) -> None:
    return None


class Instant:
    """Answers at once."""

    def reply(self, _request: Any) -> Reply:
        return Reply(ANSWER, (ANSWER,), 20, 5, lambda _: None, _no_wait)

    async def areply(self, request: Any) -> Reply:
        return self.reply(request)


def clocked(work: Callable[[int], Any], calls: int = CALLS) -> float:
    """Return microseconds of the processor for one call."""
    gc.collect()
    started = time.process_time()
    for number in range(calls):
        work(number)
    return (time.process_time() - started) / calls * 1e6


def beside(plain: Callable[[int], Any], tracked: Callable[[int], Any]) -> tuple[list[float], list[float]]:
    """Return microseconds of a call of both, in turns; which of them comes first alternates.

    The turns are long because steps are recorded twice a second: what was saved up for them in a pause would weigh
    in a short one as if it were the cost of every call.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS + 1):
        for turn in (0, 1) if number % 2 else (1, 0):
            taken[turn].append(clocked((plain, tracked)[turn], 1) / TRACKED_CALLS)
    return taken[0][1:], taken[1][1:]


def report(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


class Idle:
    """An exporter that is never ready: what is left is what a tracked call itself pays."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        self.end.wait()

    def close(self) -> None:
        return None


class Still(dspy.Module):
    """Asks no LM: what is left is what the executor itself takes."""

    async def aforward(self, question: str) -> Any:
        return dspy.Prediction(answer=question)


async def every(program: Any, items: list[dict[str, str]]) -> None:
    for item in items:
        await program.acall(**item)


def memory() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


def main() -> None:
    lm = local_lm("instant/lm", Instant())
    program = dspy.Predict("question -> answer")
    fresh = iter(range(10**9))

    def ask(executor: DSPyPipelineExecutor, count: int = CALLS) -> Callable[[int], Any]:
        async def many(calls: int) -> None:
            for _ in range(calls):
                await executor.aexecute(program, inputs={"question": f"capital of {next(fresh)}?"})

        return lambda _: runner.run(many(count))

    def wait(_: int) -> None:
        plain.execute(program, inputs={"question": f"capital of {next(fresh)}?"})

    async def bare_together(calls: int) -> None:
        for _ in range(calls):
            await program.acall(question=f"capital of {next(fresh)}?")

    def bare(number: int) -> None:
        program(question=f"capital of {number}?")

    with (
        dspy.context(lm=lm),
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        plain = DSPyPipelineExecutor(mlflow_tracking=False)
        idle = Idle()
        journal = TrackingOptions(Path(folder) / "journal", close_s=0.1)
        tracked = DSPyPipelineExecutor(tracker=JournaledTracker(journal, lambda: idle))
        clocked(ask(tracked), 1)
        rounds: list[tuple[float, ...]] = []
        for _ in range(ROUNDS + 1):
            ours_us = clocked(ask(plain), 1) / CALLS
            acall = clocked(lambda _: runner.run(bare_together(CALLS)), 1) / CALLS
            rounds.append((ours_us, clocked(bare), clocked(wait), acall))
        ours, theirs, waited, acalls = (list(samples) for samples in zip(*rounds[1:], strict=True))
        untracked, journaled = beside(ask(plain, TRACKED_CALLS), ask(tracked, TRACKED_CALLS))
        report(id="P6", name="executor ÷ bare Predict", unit="us", samples=ours, baseline=theirs, goal="ratio <= 0.7")
        report(id="", name="executor ÷ bare acall", unit="us", samples=ours, baseline=acalls)
        report(id="", name="executor from a thread ÷ bare Predict", unit="us", samples=waited, baseline=theirs)
        report(
            id="P12", name="tracked ÷ untracked", unit="us", samples=journaled, baseline=untracked, goal="ratio <= 1.05"
        )
        hits = [1e6 / clocked(lambda _: plain.execute(program, inputs={"question": "again"}), 2000) for _ in range(5)]
        report(id="P3", name="executor's cache hits", unit="1/s", samples=hits, goal="value >= 20000", better="higher")
        items = [{"question": f"item {number}"} for number in range(2000)]
        batch = [clocked(lambda _: plain.execute_batch(program, inputs_list=items, use_cache=False), 1) / 2000]
        report(id="", name="batch item ÷ bare Predict", unit="us", samples=batch, baseline=theirs)
        still = Still()
        many = [{"question": f"item {number}"} for number in range(10_000)]
        alone = [clocked(lambda _: runner.run(every(still, many)), 1) / len(many)]
        before = memory()
        over = [clocked(lambda _: plain.execute_batch(still, inputs_list=many), 1) / len(many) - alone[0]]
        report(id="batch", name="overhead of an item, of 10,000", unit="us", samples=over, goal="value <= 60")
        kept = memory()
        for _ in range(2):
            plain.execute_batch(still, inputs_list=many, use_cache=False)
        grown = [memory() / kept]
        report(id="batch", name="memory after 30,000 items over 10,000", unit="", samples=grown, goal="value <= 1.05")
        report(id="", name="memory of 10,000 items, kept results", unit="MB", samples=[(kept - before) / 1e6])
        idle.end.set()
        plain.shutdown()
        tracked.shutdown()
        drain(lm, program, Path(folder))


def drain(lm: Any, program: Any, folder: Path) -> None:
    """Track many executions at full rate into SQLite; tell how fast they are drained, and how many are lost."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    import_mlflow().MlflowClient(uri).search_experiments()
    options = MlflowOptions(uri=uri, experiment="bench", artifacts=folder / "artifacts")
    tracker = make_tracker(options, TrackingOptions(folder / "drained", steps_a_second=0, batch=500))
    with DSPyPipelineExecutor(lms={"default": lm}, tracker=tracker) as executor:
        started = time.perf_counter()
        for number in range(TRACKED):
            executor.execute(program, inputs={"question": f"tracked {number}"})
        tracker.flush(600)
        seconds = time.perf_counter() - started
        stats = tracker.stats()
    rate = [stats["exported"] / seconds]
    report(id="P12", name="drained executions", unit="1/s", samples=rate, goal="value >= 300", better="higher")
    lost = [float(TRACKED - stats["exported"])]
    report(id="P12", name="lost executions", unit="", samples=lost, goal="value <= 0", better="lower")


if __name__ == "__main__":
    main()
