"""Programs whose LM writes code, in a real Deno sandbox, where the machine has Deno."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.sandbox import INSTALL, has_deno
from python_bridge.testing.scripted import ScriptedLM

pytestmark = [
    pytest.mark.skipif(not has_deno(), reason=f"there is no Deno here; {INSTALL}"),
    # DSPy leaves the pipes of its sandbox to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

Make = Callable[..., DSPyEngine]


@pytest.fixture(scope="module", autouse=True)
def pyodide() -> None:
    """The sandbox's Python, which Deno fetches from npm at its first use."""
    deno = shutil.which("deno") or str(Path(sys.executable).with_name("deno"))
    command = [deno, "cache", "--no-lock", "npm:pyodide@0.29.4"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Deno cannot get Pyodide from npm: {error}")
    if done.returncode != 0:
        pytest.skip(f"Deno cannot get Pyodide from npm: {done.stderr.strip()[-200:]}")


TOOLS = [
    {
        "name": "price",
        "desc": "Price of a fruit",
        "schema": {"type": "object", "properties": {"fruit": {"type": "string"}}},
    }
]


async def price(_tool: str, arguments: dict[str, Any], *_: Any) -> Any:
    """Answer the tool's calls."""
    return {"apple": 3, "pear": 4}[arguments["fruit"]]


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1")
async def test_program_of_thought_runs_the_lm_s_code(make_engine: Make, call: Any) -> None:
    code = "```python\ntotal = sum(range(11))\nSUBMIT({'answer': total})\n```"
    scripted = ScriptedLM([{"reasoning": "add", "generated_code": code}, {"reasoning": "so", "answer": 55}])
    program = {"kind": "program_of_thought", "signature": "question -> answer: int"}
    result = await call(make_engine(scripted.lm), program, {"question": "1 + … + 10"})
    assert result.outputs["answer"] == 55
    assert "55" in scripted.asked[1].messages[-1][1]


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-6")
async def test_code_act_calls_the_client_s_tools_from_the_sandbox(make_engine: Make, call: Any) -> None:
    code = "```python\napple = price(fruit='apple')\npear = price(fruit='pear')\nprint(apple + pear)\n```"
    scripted = ScriptedLM([{"generated_code": code, "finished": True}, {"reasoning": "so", "answer": 7}])
    program = {"kind": "code_act", "signature": "question -> answer: int", "tools": TOOLS}
    result = await call(make_engine(scripted.lm), program, {"question": "both?"}, call_tool=price)
    assert result.outputs["answer"] == 7
    assert "7" in scripted.asked[1].messages[-1][1]


@pytest.mark.anyio
@pytest.mark.req("FR1.1.1", "OWN-6")
async def test_rlm_explores_its_inputs_with_code_and_tools(make_engine: Make, call: Any) -> None:
    code = "```python\nSUBMIT(answer=len(text) + price(fruit='apple'))\n```"
    scripted = ScriptedLM([{"reasoning": "count", "code": code}])
    program = {"kind": "rlm", "signature": "text -> answer: int", "tools": TOOLS}
    result = await call(make_engine(scripted.lm), program, {"text": "x" * 100}, call_tool=price)
    assert result.outputs["answer"] == 103


@pytest.mark.anyio
@pytest.mark.req("OWN-9")
async def test_the_sandbox_has_neither_files_nor_network(make_engine: Make, call: Any) -> None:
    code = (
        "```python\nimport os\nfound = os.path.exists('/etc/hostname')\ntry:\n    import urllib.request\n"
        "    urllib.request.urlopen('http://127.0.0.1:1')\n    net = True\nexcept Exception:\n    net = False\n"
        "SUBMIT({'answer': f'{found} {net}'})\n```"
    )
    scripted = ScriptedLM([{"reasoning": "look", "generated_code": code}, {"reasoning": "so", "answer": "seen"}])
    await call(make_engine(scripted.lm), {"kind": "program_of_thought", "signature": "q -> answer"}, {"q": "?"})
    assert "False False" in scripted.asked[1].messages[-1][1]
