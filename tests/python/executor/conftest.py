"""Executors for tests: no tracking, no waiting between retries."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from python_bridge import DSPyPipelineExecutor
from python_bridge.services.executor.retry import Retry

Make = Callable[..., DSPyPipelineExecutor]


@pytest.fixture
def waits() -> list[float]:
    """The waits between attempts that were asked for."""
    return []


@pytest.fixture
def make(waits: list[float]) -> Iterator[Make]:
    """Make executors that are shut down after the test."""
    made: list[DSPyPipelineExecutor] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def build(lm: Any = None, **given: Any) -> DSPyPipelineExecutor:
        retries = given.pop("max_retries", 1)
        given.setdefault("lms", {"default": lm} if lm is not None else {})
        given.setdefault("mlflow_tracking", False)
        made.append(DSPyPipelineExecutor(retry=Retry(retries, sleep=sleep), **given))
        return made[-1]

    yield build
    for executor in made:
        executor.shutdown()
