"""Arguments of any kind: a failure that names the argument, or an error where there is no result to give."""

from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import ExecutionLimits
from python_bridge.services.executor.options import CacheOptions
from python_bridge.settings import SettingsError
from python_bridge.testing.scripted import ScriptedLM


@pytest.mark.req("EX-1", "EX-4")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lm": 5}, "lm must be text, it is 5"),
        ({"adapter": ["json"]}, "adapter must be text"),
        ({"config": "hot"}, "config must be a map of LM parameters"),
        ({"tenant": 5}, "tenant must be text"),
        ({"session_id": 5}, "session_id must be text"),
        ({"client_request_id": b"x"}, "client_request_id must be text"),
        ({"use_cache": "no"}, "use_cache must be true or false, it is 'no'"),
        ({"emit": 5}, "emit must be a function"),
        ({"timeout": 10**400}, "timeout must be a number of seconds"),
        ({"timeout": float("nan")}, "timeout must be a number of seconds"),
        ({"limits": 5}, "limits must be ExecutionLimits"),
        ({"limits": {"max_token": 5}}, "limits has no 'max_token'; known are max_lm_calls, max_tokens"),
        ({"limits": {"max_tokens": -1}}, "limits.max_tokens must be a whole number from 0, it is -1"),
        ({"limits": ExecutionLimits(max_cpu_seconds=float("nan"))}, "limits.max_cpu_seconds must be a number"),
        ({"fallback": 5}, "fallback takes"),
        ({"fallback": ["stale", None]}, "not None"),
        ({"fallback": ["lm:"]}, "not 'lm:'"),
        ({"fallback": [object]}, "not <class 'object'>"),
        ({"speed": 1}, "'speed' is no option of an execution; known are adapter, client_request_id"),
    ],
)
def test_options_of_the_wrong_kind_are_named_before_anything_runs(
    make: Any, options: dict[str, Any], words: str
) -> None:
    scripted = ScriptedLM(default={"a": "x"})
    result = make(scripted.lm).execute(dspy.Predict("q -> a"), inputs={"q": "1"}, **options)
    assert words in result.error
    assert result.metadata["error_kind"] in ("invalid_input", "invalid_request")
    assert {"execution_id", "mode", "cache"} <= set(result.metadata)
    assert not scripted.asked


@pytest.mark.req("EX-10")
def test_limits_may_come_as_a_map(make: Any) -> None:
    result = make(ScriptedLM(default={"a": "x"}).lm).execute(
        dspy.Predict("q -> a"), inputs={"q": "1"}, limits={"max_lm_calls": 0}
    )
    assert result.metadata["error_details"]["limit"] == "max_lm_calls"


@pytest.mark.req("EX-1")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timeout": 0}, "timeout must be a number of seconds above 0, or None"),
        ({"timeout": "5"}, "timeout must be"),
        ({"max_retries": -1}, "max_retries must be a whole number from 0"),
        ({"max_retries": "1"}, "max_retries must be"),
        ({"lms": "openai/x"}, "lms must be a map of names to LMs"),
        ({"models": 5}, "models must be a map of programs, or a function"),
        ({"cache": CacheOptions(ttl=-1)}, "ttl of the cache"),
        ({"cache": CacheOptions(max_bytes="1")}, "max_bytes of the cache"),  # type: ignore[arg-type]
        ({"cache": CacheOptions(max_entries=True)}, "max_entries of the cache"),
    ],
)
def test_an_executor_is_not_made_of_arguments_that_cannot_be(make: Any, given: dict[str, Any], words: str) -> None:
    from python_bridge import DSPyPipelineExecutor

    with pytest.raises(SettingsError, match=words):
        DSPyPipelineExecutor(mlflow_tracking=False, **given)


@pytest.mark.req("EX-6")
@pytest.mark.parametrize("inputs", [{"q": "1"}, '{"q": "1"}', 5, b"x"])
def test_the_inputs_of_one_execution_are_no_batch(make: Any, inputs: Any) -> None:
    with pytest.raises(BridgeError, match="inputs_list must be a list with the inputs of each execution"):
        make(ScriptedLM().lm).execute_batch(dspy.Predict("q -> a"), inputs_list=inputs)


@pytest.mark.req("EX-6")
def test_a_batch_takes_whatever_gives_inputs_one_by_one(make: Any) -> None:
    import numpy

    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    rows = [{"q": "1"}, {"q": "2"}]
    for items in (rows, tuple(rows), iter(rows), (row for row in rows), numpy.array(rows)):
        assert [result.success for result in executor.execute_batch(program, inputs_list=items)] == [True, True]
    assert [executor.execute_batch(program, inputs_list=items) for items in (None, [], ())] == [[], [], []]

    def broken() -> Any:
        yield {"q": "1"}
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        executor.execute_batch(program, inputs_list=broken())


@pytest.mark.req("EX-6")
def test_a_generator_may_execute_while_it_makes_the_inputs(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("q -> a")
    made = ({"q": executor.execute(program, inputs={"q": text}).outputs["a"]} for text in "ab")
    assert [result.outputs for result in executor.execute_batch(program, inputs_list=made)] == [{"a": "x"}] * 2


@pytest.mark.req("EX-1")
def test_a_path_names_a_program_file(make: Any, tmp_path: Path) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    missing = executor.execute(tmp_path / "none.json", inputs={"q": "1"})
    assert "cannot be read: No such file" in missing.error
    file = tmp_path / "qa.json"
    file.write_text('{"format": 1, "kind": "predict", "signature": "q -> a"}')
    assert executor.execute(file, inputs={"q": "1"}).outputs == {"a": "x"}


@pytest.mark.req("EX-1")
@pytest.mark.parametrize("plain", [True, False])
def test_events_go_to_plain_and_to_asynchronous_functions(make: Any, plain: bool) -> None:
    events: list[dict[str, Any]] = []

    async def emit(event: dict[str, Any]) -> None:
        events.append(event)

    executor = make(ScriptedLM(default={"a": "word"}).lm)
    result = executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}, emit=events.append if plain else emit)
    assert (result.error, result.outputs) == (None, {"a": "word"})
    assert "".join(event["text"] for event in events if event["type"] == "token") == "word"
