"""Programs as people write them: they end processes, cancel themselves, and change what they are given."""

import asyncio
import threading
from typing import Any

import dspy
import pytest
from pydantic import BaseModel

from python_bridge.errors import BridgeError
from python_bridge.testing.scripted import ScriptedLM

pytestmark = pytest.mark.req("EX-5")


class Ends(dspy.Module):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.errors = [error]

    def forward(self, q: str) -> Any:
        raise self.errors[0]


class EndsOnTheLoop(Ends):
    async def aforward(self, q: str) -> Any:
        raise self.errors[0]


class EndsInATask(Ends):
    async def aforward(self, q: str) -> Any:
        async def inner() -> None:
            raise self.errors[0]

        await asyncio.gather(inner())


class Echo(dspy.Module):
    async def aforward(self, q: str) -> Any:
        return dspy.Prediction(a=q)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        *(
            (kind, error)
            for kind in (Ends, EndsOnTheLoop, EndsInATask)
            for error in (SystemExit(3), KeyboardInterrupt("n"))
        ),
        *((Ends, error) for error in (StopIteration("no more"), GeneratorExit())),
    ],
)
def test_a_program_that_would_end_the_process_fails_alone(make: Any, kind: Any, error: BaseException) -> None:
    executor = make(ScriptedLM().lm, timeout=30)
    result = executor.execute(kind(error), inputs={"q": "1"})
    assert result.metadata["error_kind"] == "program_error"
    assert type(error).__name__ in result.error
    assert executor.execute(Echo(), inputs={"q": "on"}).outputs == {"a": "on"}


@pytest.mark.parametrize("timeout", [30, None])
def test_a_program_that_cancels_itself_has_not_timed_out(make: Any, timeout: float | None) -> None:
    executor = make(ScriptedLM().lm, timeout=timeout)
    result = executor.execute(EndsOnTheLoop(asyncio.CancelledError()), inputs={"q": "1"})
    assert result.error == "the program raised CancelledError, and nobody had cancelled it"
    assert executor.get_execution_stats()["abandoned"] == 0


@pytest.mark.anyio
async def test_a_caller_that_is_cancelled_stays_cancelled(make: Any) -> None:
    executor, begun = make(ScriptedLM().lm), asyncio.Event()

    class Waits(dspy.Module):
        async def aforward(self, q: str) -> Any:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(executor.aexecute(Waits(), inputs={"q": "1"}))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Order(BaseModel):
    items: list[str]


class Changes(dspy.Module):
    """Fails when it sees what it has done to its inputs before."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]
        self.lock = [threading.Lock()]

    def forward(self, order: Order, notes: dict[str, Any], rest: Any = None) -> Any:
        with self.lock[0]:
            self.calls[0] += 1
            first = self.calls[0] == 1
        seen = [len(order.items), len(notes["list"]), len(rest["x"])]
        order.items.append("more")
        notes["list"].append("more")
        rest["x"].append("more")
        if first:
            raise BridgeError("lm_error", "busy", retryable=True)
        return dspy.Prediction(seen=seen)


@pytest.mark.req("EX-1", "EX-4")
def test_what_a_program_does_to_its_inputs_reaches_neither_the_caller_nor_the_next_attempt(make: Any) -> None:
    inputs = {"order": Order(items=["a"]), "notes": {"list": ["a"]}, "rest": {"x": ["a"]}}
    result = make(ScriptedLM().lm, max_retries=1).execute(Changes(), inputs=inputs)
    assert (result.outputs, result.metadata["attempts"]) == ({"seen": [1, 1, 1]}, 2)
    assert inputs == {"order": Order(items=["a"]), "notes": {"list": ["a"]}, "rest": {"x": ["a"]}}


class Client:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: list[str] = []

    def search(self, q: str) -> str:
        with self.lock:
            self.asked.append(q)
        return q.upper()


class Searches(dspy.Module):
    def forward(self, tool: dspy.Tool) -> Any:
        return dspy.Prediction(a=tool(q="word"))


def test_a_tool_among_the_inputs_works_on_the_caller_s_own_object(make: Any) -> None:
    client = Client()
    result = make(ScriptedLM().lm).execute(Searches(), inputs={"tool": dspy.Tool(client.search)})
    assert (result.outputs, client.asked) == ({"a": "WORD"}, ["word"])


def test_inputs_that_hold_themselves_are_refused(make: Any) -> None:
    class Takes(dspy.Module):
        def forward(self, thing: Any) -> Any:
            return dspy.Prediction(size=len(thing))

    thing: list[Any] = []
    thing.append(thing)
    for use_cache in (True, False):
        result = make(ScriptedLM().lm).execute(Takes(), inputs={"thing": thing}, use_cache=use_cache)
        assert result.metadata["error_kind"] in ("limit_exceeded", "program_error")
