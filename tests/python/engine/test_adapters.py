"""Prompts are DSPy's own, byte by byte, whether they come from a cache or not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_bridge.engine.adapters import ADAPTERS, adapter
from python_bridge.engine.adapters.kept import CACHE_SIZE
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.signatures.build import build_signature
from python_bridge.engine.signatures.spec import spec_from_text
from python_bridge.settings import LmSettings, Settings
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_server import OpenAIServer

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests/vectors/corpora/adapters.json"
THEIRS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}


@pytest.mark.req("OWN-7", "NFR5.1.3")
def test_every_prompt_of_the_corpus_is_the_same_twice() -> None:
    command = [sys.executable, str(ROOT / "tests/conformance/run.py"), "formats", str(CORPUS), "--show", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    cases = json.loads(CORPUS.read_text("utf-8"))["cases"]
    count = sum(case["kind"] == "format" for case in cases)
    assert done.stdout.splitlines()[-1] == f"{count} passed, 0 failed", done.stdout + done.stderr


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# DSPy cannot print a list of anything but texts where a text is declared.
TEXT_VALUES = VALUES.filter(lambda value: not isinstance(value, list) or all(isinstance(item, str) for item in value))
SIGNATURE = build_signature(spec_from_text("a, b: Any, c: list[str] -> reasoning, n: int, tags: list[str]"))


@pytest.mark.parametrize("name", ADAPTERS)
@settings(max_examples=40, deadline=None)
@given(
    inputs=st.fixed_dictionaries({"a": TEXT_VALUES, "b": VALUES, "c": VALUES}),
    demo=st.dictionaries(st.sampled_from("abc"), TEXT_VALUES),
)
def test_prompts_of_any_inputs_equal_those_of_dspy(name: str, inputs: dict[str, Any], demo: dict[str, Any]) -> None:
    demos = [{**demo, "n": 1}]
    assert adapter(name).format(SIGNATURE, demos, inputs) == THEIRS[name]().format(SIGNATURE, demos, inputs)


@settings(max_examples=40, deadline=None)
@given(inputs=st.dictionaries(st.sampled_from("abc"), TEXT_VALUES), name=st.sampled_from(ADAPTERS))
def test_prompts_without_demos_equal_those_of_dspy(name: str, inputs: dict[str, Any]) -> None:
    assert adapter(name).format(SIGNATURE, [], inputs) == THEIRS[name]().format(SIGNATURE, [], inputs)


def test_a_prompt_with_a_history_or_of_several_parts_is_the_one_of_dspy() -> None:
    class Talk(dspy.Signature):
        q: str = dspy.InputField()
        history: dspy.History = dspy.InputField()
        a: str = dspy.OutputField()

    inputs = {"q": "?", "history": dspy.History(messages=[{"q": "1", "a": "2"}])}
    assert adapter("chat").format(Talk, [], inputs) == dspy.ChatAdapter().format(Talk, [], inputs)
    image = "<<CUSTOM-TYPE-START-IDENTIFIER>>[1]<<CUSTOM-TYPE-END-IDENTIFIER>>"
    parts = {"a": f"see {image}"}
    assert adapter("chat").format(SIGNATURE, [], parts) == dspy.ChatAdapter().format(SIGNATURE, [], parts)


PIECES = ["[[ ## reasoning ## ]]", "[[ ## n ## ]]", "[[ ## tags ## ]]", "[[ ## other ## ]]", "[[ ## completed ## ]]"]
PIECES += ["\n", "\r\n", "\u2028", "  ", "7", '["x", "y"]', "text", "[[ ## ", "x [[ ## n ## ]]", "\t[[ ## n ## ]] 5"]
WELL = "[[ ## reasoning ## ]] r\n\n s\n[[ ## n ## ]]\n7\n\n[[ ## tags ## ]]\n['x']\n\n[[ ## completed ## ]]\n"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.just(WELL) | st.just("intro\n" + WELL + WELL))
def test_an_answer_is_read_as_dspy_reads_it(completion: str) -> None:
    def told(chat: Any) -> Any:
        try:
            return list(chat.parse(SIGNATURE, completion).items())
        except Exception as error:
            return type(error), str(error)

    assert told(adapter("chat")) == told(dspy.ChatAdapter())


@pytest.mark.parametrize("name", ADAPTERS)
def test_new_instructions_give_a_new_prompt_and_the_caches_stay_small(name: str) -> None:
    signature = build_signature(spec_from_text("q -> a"))
    for index in range(CACHE_SIZE + 20):
        signature.instructions = f"Instructions {index}"
        assert f"Instructions {index}" in adapter(name).format(signature, [], {"q": "?"})[0]["content"]
    assert len(adapter(name)._systems) <= CACHE_SIZE


class Takes:
    """As much of an LM as the choice of a format looks at."""

    model = "any"
    supports_response_schema = False
    supported_params = frozenset({"response_format"})


def test_threads_that_fill_the_cache_of_formats_do_not_disturb_one_another(crowd: Any) -> None:
    json_adapter = adapter("json")
    plain = build_signature(spec_from_text("q -> a"))
    signatures = [plain.with_instructions(f"Instructions {number}") for number in range(CACHE_SIZE + 200)]

    def choose(number: int) -> None:
        for signature in [*signatures[50 * number :], *signatures[: 50 * number]] * 3:
            chosen: dict[str, Any] = {}
            json_adapter._prepare_response_format(Takes, chosen, signature)
            assert chosen == {"response_format": {"type": "json_object"}}

    assert crowd(choose) == []
    assert len(json_adapter._formats) <= CACHE_SIZE


@pytest.mark.anyio
async def test_models_that_take_schemas_get_the_schema_of_the_outputs(call: Any) -> None:
    async with OpenAIServer() as server:
        base = server.base_url
        lms = {
            "default": LmSettings(model="openai/gpt-4o-mini", api_base=base),
            "plain": LmSettings(model="openai/home-made", api_base=base),
        }
        engine = DSPyEngine(Settings(lms=lms, adapter="json"))
        for _ in range(2):
            server.push(Behaviour(text='{"answer": 3}'))
            assert (await call(engine, "q -> answer: int", {"q": "?"})).outputs == {"answer": 3}
        server.push(Behaviour(text='{"answer": 3}'))
        await call(engine, "q -> answer: int", {"q": "?"}, lm="plain")
        schemas = [exchange.body.get("response_format") for exchange in server.exchanges]
        await engine.close()
    assert schemas[0] == schemas[1]
    assert schemas[0]["json_schema"]["strict"] is True
    assert schemas[0]["json_schema"]["schema"]["properties"]["answer"]["type"] == "integer"
    assert schemas[2] in (None, {"type": "json_object"})
