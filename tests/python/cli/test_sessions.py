"""`python-bridge sessions`, as people and scripts run it."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from python_bridge.cli.app import app
from python_bridge.settings import Settings
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker
from scripts.tree import ROOT

pytestmark = [pytest.mark.req("FR2.3.1", "FR2.3.4", "NFR4.2.4")]
PREDICT = {"format": 1, "kind": "predict", "signature": "question -> answer"}
SECRET = "sk-an-ordinary-key-1234"


@pytest.fixture
def store(tmp_path: Path) -> str:
    """The URL of a store with three sessions."""
    url = f"sqlite:///{tmp_path}/store/x.db"

    async def fill() -> None:
        async with memory_worker(Settings(store=url), engine=ScriptedEngine()) as client:
            variables = {"big": 2**80, "when": (1, b"\x00"), "note": "plain"}
            await client.request("session.open", {"session": "a", "lm": "small", "variables": variables})
            entries = [{"question": f"q{number}", "answer": f"use {SECRET}"} for number in range(5)]
            await client.request("session.append", {"session": "a", "entries": entries})
            await client.request("session.open", {"session": "b"})
            await client.request("session.open", {"session": "of another"}, tenant="t")

    asyncio.run(fill())
    return url


def sessions(*arguments: str, store: str, **options: Any) -> Any:
    return CliRunner().invoke(app, ["sessions", *arguments, "--store", store], **options)


def test_sessions_are_listed_as_a_table_and_as_json(store: str) -> None:
    shown = sessions("list", store=store)
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == ["session", "a", "b"]
    items = json.loads(sessions("list", "--json", store=store).output)
    assert [(item["session"], item["lm"], item["entries"]) for item in items] == [("a", "small", 5), ("b", None, 0)]
    assert [i["session"] for i in json.loads(sessions("list", "--json", "--limit", "1", store=store).output)] == ["a"]
    mine = json.loads(sessions("list", "--json", "--tenant", "t", store=store).output)
    assert [item["session"] for item in mine] == ["of another"]
    assert sessions("list", "--tenant", "nobody", store=store).output == "no sessions\n"


def test_a_session_is_shown_without_its_values_and_its_history_without_secrets(store: str) -> None:
    shown = sessions("show", "a", store=store)
    assert shown.exit_code == 0
    assert "entries: 5" in shown.output
    assert "plain" not in shown.output
    newest = json.loads(sessions("show", "a", "--entries", "2", "--json", store=store).output)["newest"]
    assert [(entry["seq"], entry["question"]) for entry in newest] == [(3, "q3"), (4, "q4")]
    assert newest[0]["answer"] == "use [redacted]"
    assert SECRET not in sessions("show", "a", "--entries", "9", store=store).output


def test_texts_of_a_session_neither_break_the_table_nor_steer_the_terminal(store: str) -> None:
    document = {"format": 1, "history": [{"fields": {"q": "\x1b[2Jgone\u009b\u202e"}}]}
    made = sessions("import", "-", "--session", "[/red] a", store=store, input=json.dumps(document))
    assert made.exit_code == 0
    assert "[/red] a" in sessions("list", store=store).output
    shown = sessions("show", "[/red] a", "--entries", "1", store=store)
    assert "gone" in shown.output
    assert not {"\x1b", "\u009b"} & set(shown.output)
    exported = sessions("export", "[/red] a", store=store).output
    assert json.loads(exported)["history"][0]["fields"] == {"q": "\x1b[2Jgone\u009b\u202e"}
    for output in (exported, sessions("show", "[/red] a", "--entries", "1", "--json", store=store).output):
        assert not {"\x1b", "\u009b", "\u202e"} & set(output)


def test_an_exported_session_is_imported_whole(store: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.touch(0o644)
    assert sessions("export", "a", "--output", str(file), store=store).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    other = f"sqlite:///{tmp_path}/other.db"
    (tmp_path / "other.db").touch(0o600)
    made = sessions("import", str(file), "--session", "copy", store=other)
    assert (made.exit_code, made.output) == (0, "copy\n")
    first, second = (
        json.loads(sessions("export", *at, store=url).output) for at, url in ((["a"], store), (["copy"], other))
    )
    assert {**first, "session": ""} == {**second, "session": ""}
    assert second["variables"]["big"] == {"$type": "int", "value": str(2**80)}


def test_an_import_reads_the_standard_input_and_makes_an_id(store: str) -> None:
    document = {"format": 1, "programs": [{"program": PREDICT}]}
    made = sessions("import", "-", "--json", store=store, input=json.dumps(document))
    assert made.exit_code == 0, made.output
    shown = json.loads(made.output)
    assert len(shown["programs"]) == 1
    again = sessions("import", "-", "--session", shown["session"], store=store, input=json.dumps(document))
    assert again.exit_code == 1
    assert "already" in again.output


def test_the_commands_of_the_guide_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    commands = [line.split()[2:] for line in page.splitlines() if line.startswith("python-bridge sessions ")]
    assert {command[0] for command in commands} == {"list", "show", "export", "import", "close"}
    monkeypatch.chdir(tmp_path)
    for command in commands:
        done = sessions(*command, store=store)
        assert done.exit_code == 0, done.output


def test_closed_sessions_are_gone_and_a_missing_one_is_told(store: str) -> None:
    closed = sessions("close", "a", "no", store=store)
    assert (closed.exit_code, closed.output) == (1, "a: closed\nno: there is none\n")
    assert json.loads(sessions("close", "b", "--json", store=store).output) == {"b": True}
    assert json.loads(sessions("list", "--json", store=store).output) == []
    assert sessions("show", "a", store=store).exit_code == 1


def test_what_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    for arguments in (("list",), ("show", "a"), ("export", "a"), ("close", "a")):
        done = sessions(*arguments, store=f"sqlite:///{tmp_path}/none.db")
        assert done.exit_code == 1
        assert "there is no store" in done.output
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"format": 2}', '{"format": 1, "history": 5}'])
def test_a_file_that_is_no_export_is_refused_and_changes_nothing(store: str, text: str) -> None:
    done = sessions("import", "-", store=store, input=text)
    assert done.exit_code in (1, 2)
    assert "python-bridge sessions: " in done.output
    assert len(json.loads(sessions("list", "--json", store=store).output)) == 2


def test_a_password_of_the_store_is_in_no_message() -> None:
    done = sessions("list", store="postgresql://user:pass-word-1@127.0.0.1:1/x")
    assert done.exit_code == 1
    assert "pass-word-1" not in done.output
