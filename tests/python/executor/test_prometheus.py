"""Statistics as Prometheus reads them."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from python_bridge.services.executor.prometheus import to_prometheus
from python_bridge.testing import ScriptedLM

Samples = dict[tuple[str, tuple[str, ...]], float]


def samples_of(text: str) -> Samples:
    """Return every sample by its name and the values of its labels."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sample.labels.values())): sample.value for family in families for sample in family.samples
    }


@pytest.mark.req("EX-9")
def test_executions_errors_times_and_the_cache_are_read_back_by_prometheus_own_parser(make: Any) -> None:
    executor = make(ScriptedLM(default={"answer": "x"}).lm)
    program = {"format": 1, "kind": "predict", "signature": "question -> answer", "name": 'an "odd" name\n'}
    for inputs in ({"question": "q"}, {"question": "q"}, {}):
        executor.execute(program, inputs=inputs)
    samples = samples_of(executor.prometheus({"http_running": 3}))
    assert samples["dspex_executor_executions_total", ("success",)] == 2
    assert samples["dspex_executor_program_executions_total", ("failure", 'an "odd" name\n')] == 1
    assert samples["dspex_executor_errors_total", ("invalid_input",)] == 1
    assert samples["dspex_executor_cache_hits_total", ()] == 1
    assert samples["dspex_executor_execution_seconds_count", ()] == 3
    assert samples["dspex_executor_execution_seconds_sum", ()] > 0
    assert samples["dspex_executor_execution_seconds", ("0.99",)] > 0
    assert samples["dspex_http_running", ()] == 3


@pytest.mark.req("EX-9")
def test_an_executor_without_cache_and_tracker_shows_neither(make: Any) -> None:
    executor = make(ScriptedLM().lm, cache_enabled=False)
    names = {name for name, _labels in samples_of(to_prometheus(executor.get_execution_stats()))}
    assert not [name for name in names if "cache" in name or "tracking" in name]
