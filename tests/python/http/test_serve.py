"""`python-bridge serve` as a process."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

from python_bridge.cli.app import app
from python_bridge.store.history import History

PROGRAM = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
INPUTS = {"context": "The mill has three stones.", "question": "How many stones has the mill?"}


@contextlib.contextmanager
def serving(folder: Path, *flags: str, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server on a free port, with its URL; killed with its children where a test leaves it running."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "qa.json").write_text(json.dumps(PROGRAM))
    command = [sys.executable, "-m", "python_bridge", "serve", "--port", "0", "--programs", str(programs)]
    process = subprocess.Popen(
        [*command, "--state", str(folder / "state"), "--lm", "offline/extractive", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environ},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on ")
        yield process, line.removeprefix("listening on ").strip()
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children():
                child.kill()
        process.kill()
        process.wait(10)
        process.stdout.close()


def ask(url: str, **headers: str) -> dict[str, Any]:
    """Execute the program once."""
    body = {"program_id": "qa", "inputs": INPUTS}
    return httpx.post(f"{url}/api/v1/dspy/execute", json=body, headers=headers, timeout=60).json()


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if lives(child)]


def lives(process: psutil.Process) -> bool:
    # One that ends between its listing and this look is no longer there to be asked.
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


@pytest.mark.req("RT-1")
def test_what_a_durable_server_has_answered_is_found_after_it_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--durable") as (process, url):
        answered = ask(url)
        process.kill()
        process.wait(30)
    history = History(tmp_path / "state" / "history.db")
    try:
        assert json.loads(history.get(answered["execution_id"]) or b"") == answered
    finally:
        history.close()


@pytest.mark.req("RT-1", "BC4")
def test_a_served_program_answers_and_sigterm_ends_the_server_with_status_0(tmp_path: Path) -> None:
    with serving(tmp_path, SECRET_KEY="s3cret") as (process, url):
        assert httpx.get(f"{url}/api/v1/dspy/programs", timeout=60).status_code == 401
        assert ask(url, authorization="Bearer s3cret")["outputs"] == {"answer": "The mill has three stones."}
        assert stop(process) == 0


@pytest.mark.req("RT-1", "NFR2.1.4")
def test_several_processes_serve_one_port_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as (process, url):
        made = ask(url)
        assert made["success"] is True
        children = children_of(process)
        assert len(children) == 2
        children[0].kill()
        while len(now := children_of(process)) < 2 or children[0] in now:
            pass
        # The history is one for all processes, also before it is written.
        for _ in range(8):
            path = f"{url}/api/v1/dspy/execution/{ask(url)['execution_id']}"
            assert [httpx.get(path, timeout=60).status_code for _ in range(4)] == [200] * 4
        assert stop(process) == 0
        assert psutil.wait_procs(now, 10)[1] == []


@pytest.mark.req("RT-1", "NFR2.1.4")
def test_processes_whose_parent_is_killed_end_too(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as (process, url):
        assert ask(url)["success"] is True
        while len(children := children_of(process)) < 2:
            pass
        process.kill()
        assert psutil.wait_procs(children, 30)[1] == []


@pytest.mark.req("RT-1", "NFR2.2.2")
@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        (["--host", "0.0.0.0"], {}, "without a token the API listens on loopback only"),
        (["--port", "70000"], {}, "it must be from 0 to 65535"),
        ([], {"API_PORT": "http"}, "API_PORT is 'http'; it must be a whole number"),
        ([], {"API_TOKEN_HASHES": "abc"}, "a token hash is 64 hexadecimal digits"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_status_2(
    tmp_path: Path, flags: list[str], environ: dict[str, str], message: str
) -> None:
    done = CliRunner().invoke(app, ["serve", "--state", str(tmp_path), *flags], env=environ)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.req("RT-1", "NFR2.2.2")
def test_a_state_folder_that_cannot_be_written_ends_it_before_it_listens() -> None:
    done = CliRunner().invoke(app, ["serve", "--workers", "2", "--state", "/dev/null/x", "--programs", "/dev/null/p"])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "can't be opened for writing" in done.stderr
    assert "there is no folder '/dev/null/p' (--programs)" in done.stderr


@pytest.mark.req("RT-1")
def test_a_token_is_made_with_its_hash_and_programs_are_listed(tmp_path: Path) -> None:
    (tmp_path / "qa.json").write_text(json.dumps(PROGRAM))
    made = CliRunner().invoke(app, ["token"]).stdout.split()
    assert made[0] == "token"
    assert len(made[3]) == 64
    listed = CliRunner().invoke(app, ["programs", "--programs", str(tmp_path), "--json"]).stdout
    assert json.loads(listed) == [{"program_id": "qa", "kind": "predict", "signature": "context, question -> answer"}]
