"""Executors in use: nested, shut down while they work, used afterwards, from loops and threads."""

import asyncio
import threading
from typing import Any

import dspy
import pytest

from python_bridge.engine.threads import MAX_LEVELS, Threads
from python_bridge.errors import BridgeError
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import ScriptedLM

pytestmark = pytest.mark.req("EX-1")


class Echo(dspy.Module):
    def forward(self, q: str) -> Any:
        return dspy.Prediction(a=q)


class Nested(dspy.Module):
    """Executes another program from its own thread."""

    def __init__(self, executor: Any) -> None:
        super().__init__()
        self.executor = executor

    def forward(self, q: str) -> Any:
        return dspy.Prediction(a=self.executor.execute(Echo(), inputs={"q": q}, use_cache=False).outputs["a"])


class Outer(Nested):
    """Executes another program, and blocks or awaits it."""

    async def aforward(self, q: str) -> Any:
        if q == "blocks":
            return dspy.Prediction(a=self.executor.execute(Echo(), inputs={"q": q}, timeout=None).error)
        return dspy.Prediction(a=(await self.executor.aexecute(Echo(), inputs={"q": q})).outputs["a"])


class Waiting(dspy.Module):
    def __init__(self, gate: Gate, begun: threading.Event) -> None:
        super().__init__()
        self.gate, self.begun = gate, begun

    def forward(self, q: str) -> Any:
        self.begun.set()
        self.gate.wait(30)
        return dspy.Prediction(a=q)

    async def aforward(self, q: str) -> Any:
        self.begun.set()
        await self.gate.passed(30)
        return dspy.Prediction(a=q)


class Blocking(Waiting):
    aforward = None


@pytest.mark.req("EX-6")
def test_programs_that_execute_others_do_not_starve_however_many_there_are(make: Any) -> None:
    executor = make(ScriptedLM().lm, max_workers=100, timeout=60)
    results = executor.execute_batch(Nested(executor), inputs_list=[{"q": str(number)} for number in range(100)])
    assert [result.outputs for result in results] == [{"a": str(number)} for number in range(100)]


@pytest.mark.anyio
async def test_each_level_of_threads_has_its_own_and_the_levels_are_bounded() -> None:
    threads, loop = Threads(limit=1), asyncio.get_running_loop()

    def work(level: int) -> int:
        if level == MAX_LEVELS - 1:
            return level
        return asyncio.run_coroutine_threadsafe(threads.run(lambda: work(level + 1)), loop).result(30)

    assert await threads.run(lambda: work(0)) == MAX_LEVELS - 1
    with pytest.raises(BridgeError, match="levels deep"):
        await threads.run(lambda: work(-1))


def test_a_program_on_the_loop_awaits_others_and_is_told_so_when_it_would_block(make: Any) -> None:
    executor = make(ScriptedLM().lm)
    program = Outer(executor)
    assert executor.execute(program, inputs={"q": "awaits"}).outputs == {"a": "awaits"}
    assert "write `await executor.aexecute(…)`" in executor.execute(program, inputs={"q": "blocks"}).outputs["a"]


@pytest.mark.req("EX-5")
@pytest.mark.parametrize("kind", [Waiting, Blocking])
def test_what_runs_at_the_shutdown_ends_as_cancelled(make: Any, kind: Any) -> None:
    executor, gate, begun = make(ScriptedLM().lm, timeout=None), Gate(), threading.Event()
    found: list[Any] = []

    def one() -> None:
        found.append(executor.execute(kind(gate, begun), inputs={"q": "1"}))

    thread = threading.Thread(target=one)
    thread.start()
    assert begun.wait(30)
    executor.shutdown()
    thread.join(30)
    gate.open()
    assert [(result.success, result.metadata["error_kind"]) for result in found] == [(False, "cancelled")]


@pytest.mark.req("EX-6")
def test_a_batch_that_runs_at_the_shutdown_says_so(make: Any) -> None:
    executor, gate, begun = make(ScriptedLM().lm), Gate(), threading.Event()
    raised: list[BaseException] = []

    def many() -> None:
        try:
            executor.execute_batch(Waiting(gate, begun), inputs_list=[{"q": "1"}, {"q": "2"}])
        except BridgeError as error:
            raised.append(error)

    thread = threading.Thread(target=many)
    thread.start()
    assert begun.wait(30)
    executor.shutdown()
    thread.join(30)
    gate.open()
    assert [str(error) for error in raised] == ["the batch was cancelled: the executor was shut down"]


def test_after_the_shutdown_nothing_starts_again(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    assert executor.execute(program, inputs={"q": "1"}).success
    executor.shutdown()
    executor.shutdown()
    loops = [thread for thread in threading.enumerate() if thread.name == "dspex-executor"]
    for thread in loops:
        thread.join(30) if thread is executor._thread._thread else None
    before = {thread.ident for thread in threading.enumerate()}
    results = [executor.execute(program, inputs={"q": "1"}), *executor.execute_batch(program, inputs_list=[{}, {}])]
    assert {result.metadata["error_kind"] for result in results} == {"unavailable"}
    assert {thread.ident for thread in threading.enumerate()} <= before
    assert executor.get_execution_stats()["total_executions"] == 4


@pytest.mark.anyio
async def test_the_blocking_form_works_within_a_running_loop_as_notebooks_have_it(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    assert executor.execute(program, inputs={"q": "1"}).success
    assert [result.success for result in executor.execute_batch(program, inputs_list=[{"q": "2"}])] == [True]
    assert (await executor.aexecute(program, inputs={"q": "3"})).success


def test_one_executor_serves_loop_after_loop_and_threads_at_once(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    found = [asyncio.run(executor.aexecute(program, inputs={"q": str(number)})).success for number in range(3)]
    failed: list[str | None] = []

    def work(name: int) -> None:
        results = [executor.execute(program, inputs={"q": f"{name} {number}"}) for number in range(10)]
        failed.extend(result.error for result in results if not result.success)

    workers = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert (found, failed) == ([True] * 3, [])
    assert executor.get_execution_stats()["total_executions"] == 83
