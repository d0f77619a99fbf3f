"""What is told of executions: to callbacks of the caller's, to the tracker, and in the metadata of failures."""

from typing import Any, cast

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from python_bridge.engine.interface import CallOptions, Spending
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution
from python_bridge.services.executor.record import Recorder
from python_bridge.services.executor.statistics import Statistics
from python_bridge.testing.scripted import Answer, ScriptedLM
from python_bridge.tracking.interface import NullTracker
from tests.python.executor.conftest import Make


class Told(NullTracker):
    """Keeps every event, and wants all steps."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def wants_steps(self) -> bool:
        return True

    def record(self, event: dict[str, Any]) -> None:
        self.events.append(event)


class Heard(BaseCallback):
    def __init__(self) -> None:
        self.names: list[str] = []

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.names.append("module")

    def on_lm_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        self.names.append("lm")


class Silencing(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = dspy.Predict("q -> a")

    def forward(self, q: str) -> Any:
        with dspy.context(callbacks=[]):
            return self.step(q=q)


class Failing(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step = dspy.Predict("q -> a")

    def forward(self, q: str) -> Any:
        self.step(q=q)
        raise ValueError("after the LM")


@pytest.mark.req("EX-8", "EX-3")
def test_callbacks_of_the_caller_s_are_called_beside_ours(make: Make) -> None:
    told, heard = Told(), Heard()
    executor = make(ScriptedLM(default={"a": "x"}).lm, tracker=told)
    with dspy.context(callbacks=[heard]):
        executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"})
    program = dspy.Predict("q -> a", callbacks=[heard])
    executor.execute(program, inputs={"q": "2"})
    assert set(heard.names) == {"module", "lm"}
    assert [len(event["steps"]) for event in told.events] == [4, 4]


@pytest.mark.req("EX-8", "EX-3")
def test_switching_callbacks_off_takes_no_trace_away(make: Make) -> None:
    told = Told()
    executor = make(ScriptedLM(default={"a": "x"}).lm, tracker=told)
    with dspy.context(callbacks=[]):
        executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"})
    executor.execute(Silencing(), inputs={"q": "2"})
    assert [len(event["steps"]) for event in told.events] == [4, 1], "what is below the switch has no steps"
    assert all(event["metadata"]["usage"]["lm_calls"] == 1 for event in told.events)


@pytest.mark.req("EX-2", "EX-8")
def test_a_failure_tells_what_it_has_cost(make: Make) -> None:
    told = Told()
    executor = make(ScriptedLM([Answer(fields={"a": "x"}, usage=(3, 2))]).lm, tracker=told)
    failed = executor.execute(Failing(), inputs={"q": "1"})
    assert (failed.success, failed.metadata["usage"]["total_tokens"]) == (False, 5)
    assert told.events[0]["metadata"]["usage"]["total_tokens"] == 5
    refused = executor.execute(Failing(), inputs={})
    assert "usage" not in refused.metadata


class Tokens:
    """What an engine counted before the execution was ended from outside."""

    lm_calls = 1
    cost = 0.25

    def to_map(self) -> dict[str, Any]:
        return {"total_tokens": 5}


class Target:
    name = signature = "P"


@pytest.mark.req("EX-2", "EX-5")
def test_a_timeout_tells_what_was_spent_before_it() -> None:
    execution: Any = Execution("p-1", cast("Any", Target()), {}, CallOptions(), spending=Spending())
    recorder = Recorder(Statistics(), None)
    unpaid = recorder.fail(execution, BridgeError("timeout", "Execution timeout after 1 seconds"), 0.0)
    assert "usage" not in unpaid.metadata
    execution.spending.follow(Tokens())
    paid = recorder.fail(execution, BridgeError("timeout", "Execution timeout after 1 seconds"), 0.0)
    assert (paid.metadata["usage"], paid.metadata["cost"]) == ({"total_tokens": 5}, 0.25)
