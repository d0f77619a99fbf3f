"""Older versions of dspy 3: the worker starts, answers, streams; what a version lacks is refused by name."""

import os
import subprocess
from typing import Any

import pytest
from links import ROOT, python_process

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_server import OpenAIServer

pytestmark = [pytest.mark.req("NFR5.1.1", "NFR5.1.4")]

QA = {"format": 1, "kind": "chain_of_thought", "signature": "context, question -> answer, score: float"}
ASKED = {"context": "Grass is green. The sky is blue.", "question": "What colour is grass?"}
LACKING = {
    "3.2.1": {"engines", "cost", "lm-errors", "media", "sandbox", "xml-entities"},
    "3.3.1": {"engines", "cost"},
}
KINDS = [("chain_of_thought", "chat"), ("predict", "chat"), ("predict", "json"), ("predict", "xml")]
CONFIG = """
[lms.default]
model = "offline/extractive"
[lms.server]
model = "openai/gpt-4o-mini"
api_base = "{url}"
retries = 0
[lms.far]
model = "anthropic/claude"
"""


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


async def refusal(client: BridgeClient, program: dict[str, Any], **options: Any) -> BridgeError:
    inputs = {name: "x" for name in ("question", "picture") if name in program["signature"]}
    with pytest.raises(BridgeError) as caught:
        await client.request("call", {"program": program, "inputs": inputs, "options": options})
    return caught.value


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "FR1.3.3", "NFR5.1.3")
async def test_an_older_dspy_answers_streams_and_keeps_state(other: tuple[str, str], tmp_path: Any) -> None:
    version, python = other
    async with OpenAIServer() as server:
        config = tmp_path / "worker.toml"
        config.write_text(CONFIG.format(url=server.base_url))
        client = BridgeClient()
        arguments = ["-m", "python_bridge", "worker", "--config", str(config)]
        async with python_process(client, *arguments, python=python, env=environ()):
            hello = await client.initialize()
            assert hello["dspy"] == {"version": version}
            told = (await client.notification("ready"))["features"]
            await check_features(client, version, told)
            await check_calls(client)
            await check_errors(client, server)


async def check_features(client: BridgeClient, version: str, told: list[str]) -> None:
    assert {"stream", "tools", "kind:predict", "kind:chain_of_thought", "kind:react", "adapter:xml"} <= set(told)
    assert not {f"dspy:{name}" for name in LACKING[version]} & set(told)
    error = await refusal(client, {"format": 1, "kind": "predict", "signature": "question -> answer"}, lm="far")
    assert (error.kind, error.details["feature"], error.details["dspy"]) == ("unavailable", "engines", version)
    if "media" in LACKING[version]:
        assert not {"kind:rlm", "kind:program_of_thought", "kind:code_act"} & set(told)
        for kind, signature in (("predict", "picture: list[dspy.File] -> answer"), ("rlm", "question -> answer")):
            error = await refusal(client, {"format": 1, "kind": kind, "signature": signature})
            assert error.kind == "unavailable"
            assert version in error.message
            assert "pip install 'dspy>=3.3,<4'" in error.message


async def check_calls(client: BridgeClient) -> None:
    for kind, adapter in KINDS:
        program = {**QA, "kind": kind, "adapter": adapter}
        plain = await client.request("call", {"program": program, "inputs": ASKED})
        assert plain["outputs"]["answer"] == "Grass is green."
        assert plain["usage"]["lm_calls"] == 1
        stream = client.stream("call", {"program": program, "inputs": ASKED})
        events = [event async for event in stream]
        assert (await stream.result())["outputs"] == plain["outputs"]
        text = "".join(event["text"] for event in events if event.get("field") == "answer")
        assert text == "Grass is green."
    learned = {**QA, "state": {"predict": {"instructions": "Be brief.", "demos": [{**ASKED, "answer": "Green."}]}}}
    module = (await client.request("module.create", {"program": learned}))["module"]
    dumped = (await client.request("module.dump", {"module": module}))["program"]
    again = (await client.request("module.create", {"program": dumped}))["module"]
    described = [await client.request("module.describe", {"module": handle}) for handle in (module, again)]
    assert described[0]["predictors"] == described[1]["predictors"]
    assert described[0]["predictors"][0]["instructions"] == "Be brief."


async def check_errors(client: BridgeClient, server: OpenAIServer) -> None:
    program = {"format": 1, "kind": "predict", "signature": "question -> answer"}
    server.push(Behaviour(fields={"answer": "yes"}, usage=(7, 3)), Behaviour(status=401), Behaviour(status=429))
    asked = {"program": program, "inputs": {"question": "?"}, "options": {"lm": "server"}}
    answer = await client.request("call", asked)
    assert (answer["outputs"], answer["usage"]["total_tokens"]) == ({"answer": "yes"}, 10)
    denied = await refusal(client, program, lm="server")
    assert (denied.kind, denied.details["status"], denied.retryable) == ("lm_error", 401, False)
    slowed = await refusal(client, program, lm="server")
    assert (slowed.kind, slowed.details["status"], slowed.retryable) == ("lm_error", 429, True)
    assert len(server.exchanges) == 3, "an LM's error is no reason to ask in another format"


@pytest.mark.req("NFR5.1.2", "NFR5.1.3")
def test_prompts_are_those_of_the_installed_dspy_byte_for_byte(other: tuple[str, str]) -> None:
    version, python = other
    script = ROOT / "tests" / "python" / "versions" / "prompts.py"
    done = subprocess.run([python, str(script)], capture_output=True, text=True, cwd=ROOT, env=environ())
    assert done.stdout.split() == [version, "27"], done.stderr
