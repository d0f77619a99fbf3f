"""`python-bridge run` and `python-bridge batch`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from python_bridge.cli.app import app
from python_bridge.testing.openai_server import Behaviour, OpenAIServer

SIGNATURE = "context, question -> answer"
MILL = ["context=The mill has three stones.", "question=How many stones has the mill?"]


def bridge(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the embedded LM as a process: connections to an LM stay open until one ends."""
    return subprocess.run(
        [sys.executable, "-m", "python_bridge", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "DSPEX_LM": "offline/extractive", **environ},
        timeout=120,
        check=False,
    )


def told(*arguments: str) -> Result:
    """Run the command with the embedded LM in this process; an exception that leaves it is raised."""
    done = CliRunner().invoke(app, arguments, env={"DSPEX_LM": "offline/extractive"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.req("FR1.3.1", "EX-4")
def test_a_signature_is_run_and_its_outputs_are_printed() -> None:
    done = bridge("run", SIGNATURE, *MILL)
    assert (done.returncode, done.stdout) == (0, "answer: The mill has three stones.\n")
    result = json.loads(told("run", SIGNATURE, *MILL, "--json").stdout)
    assert result["success"] is True


@pytest.mark.req("FR1.3.3", "EX-3")
def test_an_answer_streams_and_debug_shows_the_steps() -> None:
    assert "The mill has three stones." in told("run", SIGNATURE, *MILL, "--stream").stdout
    debugged = told("run", SIGNATURE, *MILL, "--debug").stdout
    assert "Predict" in debugged
    assert "adapter.parse" in debugged


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["run", SIGNATURE, "question=?"], 1, "Missing required input fields: ['context']"),
        (["run", "no-such-program"], 2, "is no program file"),
        (["run", SIGNATURE, "question"], 2, "write key=value"),
        (["run", SIGNATURE, "question=@/no/file"], 2, "cannot be read"),
        (["run", "q -> a: strr", "q=1"], 1, "Did you mean `str`?"),
        (["batch", SIGNATURE, "/no/file.jsonl", "/tmp/none.jsonl"], 2, "cannot be read"),
    ],
)
def test_mistakes_end_with_their_status_and_say_what_to_do(arguments: list[str], status: int, text: str) -> None:
    done = told(*arguments)
    assert done.exit_code == status
    assert text in done.stderr


def items(path: Path, count: int) -> Path:
    lines = [json.dumps({"question": f"{number}?"}) for number in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def results(path: Path) -> dict[int, dict[str, Any]]:
    return {entry["index"]: entry for entry in map(json.loads, path.read_text().splitlines())}


@pytest.mark.req("EX-6")
def test_a_batch_keeps_partial_failures_and_resume_tries_them_again(tmp_path: Path) -> None:
    source, target = items(tmp_path / "in.jsonl", 6), tmp_path / "out.jsonl"
    with OpenAIServer(default=Behaviour(fields={"answer": "yes"})) as server:
        environ = {"DSPEX_LM": "openai/any", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "x"}
        server.push(Behaviour(status=400), Behaviour(fields={"answer": "first"}))
        first = bridge("batch", "question -> answer", str(source), str(target), "--workers", "1", "--json", **environ)
        assert first.returncode == 1
        assert json.loads(first.stdout) == {"total": 6, "skipped": 0, "successful": 5, "failed": 1, "cost": 0.0}
        again = bridge("batch", "question -> answer", str(source), str(target), **environ)
        assert again.returncode == 2
        assert "--resume" in again.stderr
        resumed = bridge("batch", "question -> answer", str(source), str(target), "--resume", "--json", **environ)
    assert json.loads(resumed.stdout) == {"total": 6, "skipped": 5, "successful": 1, "failed": 0, "cost": 0.0}
    assert all(entry["success"] for entry in results(target).values())
    assert sorted(results(target)) == list(range(6))


@pytest.mark.req("EX-6", "OWN-3")
def test_a_batch_that_is_interrupted_keeps_what_is_done_and_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    source, target = items(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    with OpenAIServer(default=Behaviour(fields={"answer": "yes"})) as server:
        environ = {"DSPEX_LM": "openai/any", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "x"}
        server.push(Behaviour(fields={"answer": "a"}, times=2), Behaviour(stall=True))
        command = [sys.executable, "-m", "python_bridge", "batch", "question -> answer", str(source), str(target)]
        process = subprocess.Popen(
            [*command, "--workers", "1"],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        server.wait_for(requests=3)
        process.send_signal(signal.SIGINT)
        server.release()
        assert process.communicate(timeout=60)[0]
        assert process.returncode == 130
        kept = len(results(target))
        assert 2 <= kept < 5
        with target.open("a") as file:
            file.write('{"index": 4, "succ')
        resumed = bridge("batch", "question -> answer", str(source), str(target), "--resume", "--json", **environ)
    assert json.loads(resumed.stdout)["successful"] == 5 - json.loads(resumed.stdout)["skipped"]
    assert sorted(results(target)) == list(range(5))


@pytest.mark.req("EX-4")
def test_a_csv_file_gives_its_columns_as_inputs(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("context,question\nThe mill has three stones.,How many stones?\nIt opened in 1811.,When?\n")
    assert told("batch", SIGNATURE, str(source), str(target)).exit_code == 0
    assert results(target)[1]["outputs"]["answer"] == "It opened in 1811."
