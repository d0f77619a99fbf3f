"""What the environment says to executors, and what executors say to logs."""

import logging
import threading
from typing import Any

import dspy
import pytest
from opentelemetry.sdk.trace import TracerProvider

from python_bridge.services.executor.execution import ExecutionLimits
from python_bridge.services.executor.options import log_level_of, max_workers_of
from python_bridge.settings import SettingsError
from python_bridge.testing import ScriptedLM

LOGGER = "python_bridge.executor"


class Together(dspy.Module):
    """Answers when `count` executions are at work at a time; alone it would wait for ever."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.barrier = threading.Barrier(count)
        self.most = 0
        self.running = 0
        self.lock = threading.Lock()

    def forward(self, number: int) -> Any:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.barrier.wait(30)
        with self.lock:
            self.running -= 1
        return dspy.Prediction(answer=number)


@pytest.mark.req("EX-12", "EX-6")
def test_max_workers_of_the_environment_bounds_the_items_at_work(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_WORKERS", "3")
    program = Together(3)
    results = make(ScriptedLM([]).lm).execute_batch(program, inputs_list=[{"number": number} for number in range(6)])
    assert [result.outputs for result in results] == [{"answer": number} for number in range(6)]
    assert program.most == 3


@pytest.mark.req("EX-12")
def test_what_is_given_wins_over_the_environment_and_wrong_values_are_named() -> None:
    assert max_workers_of(2, {"MAX_WORKERS": "3"}) == 2
    assert max_workers_of(None, {"MAX_WORKERS": "3"}) == 3
    assert max_workers_of(None, {}) == 4
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(SettingsError, match="MAX_WORKERS"):
            max_workers_of(None, {"MAX_WORKERS": wrong})


@pytest.mark.req("EX-12")
def test_the_log_level_of_the_environment_holds_for_the_executor_alone(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger(LOGGER)
    before, others = logger.level, logging.getLogger("python_bridge").level
    try:
        monkeypatch.setenv("PIPELINE_LOG_LEVEL", "error")
        make(ScriptedLM([]).lm)
        assert (logger.level, logging.getLogger("python_bridge").level) == (logging.ERROR, others)
    finally:
        logger.setLevel(before)
    assert log_level_of({}) is None
    assert log_level_of({"PIPELINE_LOG_LEVEL": "debug"}) == "DEBUG"
    with pytest.raises(SettingsError, match="PIPELINE_LOG_LEVEL must be debug, info"):
        log_level_of({"PIPELINE_LOG_LEVEL": "loud"})


@pytest.mark.req("EX-9", "NFR4.2.2")
def test_logs_name_the_execution_and_the_trace_that_it_belongs_to(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    executor = make(ScriptedLM([{"answer": "Paris"}]).lm)
    program = dspy.Predict("question -> answer")
    tracer = TracerProvider().get_tracer("test")
    with caplog.at_level(logging.DEBUG, LOGGER), tracer.start_as_current_span("outer") as span:
        done = executor.execute(program, inputs={"question": "where?"}, session_id="s")
        failed = executor.execute(program, inputs={})
    trace = format(span.get_span_context().trace_id, "032x")
    fields = [(record.__dict__["execution_id"], record.__dict__["trace_id"]) for record in caplog.records]
    assert fields == [(done.metadata["execution_id"], trace), (failed.metadata["execution_id"], trace)]
    assert caplog.records[0].__dict__["session_id"] == "s"
    assert caplog.records[1].__dict__["kind"] == "invalid_input"


class Growing(dspy.Module):
    """Takes memory, and then waits for the end of the test."""

    def __init__(self, size: int, end: threading.Event) -> None:
        super().__init__()
        self.size, self.end = size, end

    def forward(self) -> Any:
        block = b"\1" * self.size
        self.end.wait(60)
        return dspy.Prediction(answer=len(block))


@pytest.mark.req("EX-10")
def test_memory_is_limited(make: Any) -> None:
    end = threading.Event()
    limits = ExecutionLimits(max_memory_bytes=64 * 1024 * 1024)
    try:
        result = make(ScriptedLM([]).lm).execute(Growing(256 * 1024 * 1024, end), inputs={}, limits=limits)
    finally:
        end.set()
    assert not result.success
    assert result.metadata["error_kind"] == "limit_exceeded"
    assert result.metadata["error_details"] == {"limit": "max_memory_bytes"}
