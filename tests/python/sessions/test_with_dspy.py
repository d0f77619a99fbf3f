"""Sessions with real programs: the conversation that an LM sees."""

from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing import ScriptedLM
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio

CHAT = {"format": 1, "kind": "predict", "signature": "question, history: dspy.History -> answer"}


def settings(tmp_path: Path) -> Settings:
    return Settings(store=f"sqlite:///{tmp_path}/x.db")


def ask(question: str) -> dict[str, Any]:
    return {"program": CHAT, "inputs": {"question": question}}


@pytest.mark.req("FR2.3.1", "FR2.3.3")
async def test_the_lm_sees_the_conversation_of_the_session_also_in_the_next_worker(tmp_path: Path) -> None:
    first, second = ScriptedLM([{"answer": "Hello Ada"}]), ScriptedLM([{"answer": "Ada"}])
    async with memory_worker(settings(tmp_path), lms={"default": first.lm}) as client:
        await client.request("session.open", {"session": "s"})
        await client.request("call", ask("I am Ada"), session="s")
    async with memory_worker(settings(tmp_path), lms={"default": second.lm}) as client:
        answer = await client.request("call", ask("Who am I?"), session="s")
        session = await client.request("session.describe", {"session": "s"})
        history = await client.request("session.history", {"session": "s"})
    assert answer["outputs"] == {"answer": "Ada"}
    prompt = repr(second.asked[0].prompt)
    assert "I am Ada" in prompt
    assert "Hello Ada" in prompt
    assert [entry["fields"] for entry in history["entries"]] == [
        {"question": "I am Ada", "answer": "Hello Ada"},
        {"question": "Who am I?", "answer": "Ada"},
    ]
    assert (session["usage"]["calls"], session["usage"]["lm_calls"]) == (2, 2)


async def test_a_history_that_is_given_wins_over_the_session_s(tmp_path: Path) -> None:
    script = ScriptedLM([{"answer": "one"}, {"answer": "two"}])
    async with memory_worker(settings(tmp_path), lms={"default": script.lm}) as client:
        await client.request("session.open", {"session": "s"})
        await client.request("call", ask("kept in the session"), session="s")
        call = ask("now")
        call["inputs"]["history"] = {"messages": [{"question": "given", "answer": "by hand"}]}
        await client.request("call", call, session="s")
    prompt = repr(script.asked[1].prompt)
    assert "by hand" in prompt
    assert "kept in the session" not in prompt


async def test_the_session_s_lm_holds_unless_the_call_or_the_program_names_one(tmp_path: Path) -> None:
    lms = {name: ScriptedLM([{"answer": name}] * 3) for name in ("default", "session", "call", "program")}
    program = {"format": 1, "kind": "predict", "signature": "question -> answer"}
    async with memory_worker(settings(tmp_path), lms={name: lm.lm for name, lm in lms.items()}) as client:
        await client.request("session.open", {"session": "s", "lm": "session"})

        async def answered_by(**call: Any) -> str:
            params = {"program": program, "inputs": {"question": "who?"}, **call}
            return (await client.request("call", params, session="s"))["outputs"]["answer"]

        assert await answered_by() == "session"
        assert await answered_by(options={"lm": "call"}) == "call"
        assert await answered_by(program={**program, "lm": "program"}) == "program"


@pytest.mark.req("NFR2.2.2")
async def test_no_key_gets_into_the_store_with_a_program(tmp_path: Path) -> None:
    program = {"format": 1, "kind": "predict", "signature": "question -> answer"}
    wrong = [
        {**program, "config": {"api_key": "sk-secret"}},
        {**program, "lm": {"name": "default", "params": {"api_key": "sk-secret"}}},
    ]
    async with memory_worker(settings(tmp_path), lms={"default": ScriptedLM([]).lm}) as client:
        for each in wrong:
            with pytest.raises(BridgeError):
                await client.request("session.open", {"programs": [{"program": each}]})
    assert not holds(tmp_path, b"sk-secret")


def holds(folder: Path, text: bytes) -> bool:
    files = list(folder.glob("x.db*"))
    assert files != []
    return any(text in file.read_bytes() for file in files)
