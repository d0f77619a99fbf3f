"""Dumps and profiles of workers in debug mode."""

import asyncio
import sys
import threading
from typing import Any

import pytest
from links import PROGRAM, python_process, worker_arguments

from python_bridge.errors import BridgeError
from python_bridge.services.observability.debugging import dump
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio
DEBUG = Settings(engine="scripted", debug=True)


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


@pytest.mark.req("NFR4.2.4")
async def test_a_dump_shows_where_a_call_waits_and_what_threads_do() -> None:
    async with memory_worker(DEBUG, engine=ScriptedEngine(DEBUG)) as client:
        number = client.send("call", call({"stall": True}))
        while (await client.request("worker/status"))["in_flight"] == 0:
            pass
        shown = await client.request("debug.dump")
        (task,) = [one for one in shown["tasks"] if any("_stall" in line for line in one["stack"])]
        assert task["coroutine"] == "Call._run"
        assert task["stack"][0].endswith(" Call._run")
        names = [thread["name"] for thread in shown["threads"]]
        assert threading.current_thread().name in names
        assert shown["gc"]["frozen"] >= 0
        client.cancel(number)


async def test_a_dump_shows_no_values() -> None:
    secret = "a private matter"

    async def waits(text: str) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(waits(secret))
    await asyncio.sleep(0)
    shown = repr(dump(asyncio.get_running_loop()))
    task.cancel()
    assert "waits" in shown
    assert secret not in shown


@pytest.mark.req("NFR4.2.4")
async def test_the_inside_is_shown_in_debug_mode_only() -> None:
    settings = Settings(engine="scripted")
    async with memory_worker(settings, engine=ScriptedEngine(settings)) as client:
        for method in ("debug.dump", "debug.profile"):
            with pytest.raises(BridgeError) as refused:
                await client.request(method)
            assert refused.value.kind == "not_found"


@pytest.mark.req("NFR4.2.3")
@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"duration_ms": 0}, "duration_ms of debug.profile must be 1 to 60000, it is 0"),
        ({"format": "pdf"}, "format of debug.profile must be one of text, html, it is 'pdf'"),
    ],
)
async def test_a_wrong_profile_is_refused(params: dict[str, Any], text: str) -> None:
    async with memory_worker(DEBUG, engine=ScriptedEngine(DEBUG)) as client:
        with pytest.raises(BridgeError) as refused:
            await client.request("debug.profile", params)
        assert (refused.value.kind, refused.value.message) == ("invalid_request", text)


PROFILER = """
class Profiler:
    running = False
    def __init__(self, async_mode): assert async_mode == "disabled"
    def start(self):
        if Profiler.running: raise RuntimeError("there is one already")
        Profiler.running = True
    def stop(self): Profiler.running = False
    def output_text(self, unicode, color): return "a report"
    def output_html(self): return "<p>a report</p>"
"""


@pytest.mark.req("NFR4.2.3")
async def test_a_profile_is_made_by_pyinstrument_or_the_line_to_install_it_is_told(tmp_path: Any) -> None:
    """With a stand-in that speaks pyinstrument's interface where that is not installed."""
    (tmp_path / "pyinstrument.py").write_text(PROFILER)
    await profiles_with(tmp_path)
    (tmp_path / "pyinstrument.py").write_text("raise ImportError('not here')")
    with pytest.raises(BridgeError, match="pip install 'pyinstrument>=5'"):
        await profiles_with(tmp_path)


async def profiles_with(folder: Any) -> None:
    client = BridgeClient()
    environ = {"PYTHONPATH": f"{folder}:{':'.join(sys.path)}", "PYTHONDONTWRITEBYTECODE": "1"}
    async with python_process(client, *worker_arguments(), "--debug", env=environ):
        await client.ready()
        first = client.send("debug.profile", {"duration_ms": 300})
        with pytest.raises(BridgeError) as second:
            await client.request("debug.profile", {"duration_ms": 1})
        assert await client.response(first) == {"format": "text", "report": "a report"}
        assert second.value.kind == "conflict"
        html = await client.request("debug.profile", {"duration_ms": 1, "format": "html"})
        assert html["report"] == "<p>a report</p>"
