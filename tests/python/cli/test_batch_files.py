"""Files that batches read and write: odd names, odd contents, disks that fill up, processes that die."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from python_bridge.cli.app import app
from python_bridge.cli.ending import CommandError
from python_bridge.cli.items import ItemsError, read_items
from python_bridge.cli.results import Results, digest
from python_bridge.testing.openai_server import Behaviour, OpenAIServer

SIGNATURE = "question -> answer"
RESULT: dict[str, Any] = {"success": True, "outputs": {"answer": "yes"}, "error": None}


def bridge(*arguments: str, given: bytes | None = None, **more: Any) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "DSPEX_LM": "offline/extractive", **more.pop("environ", {})}
    command = [sys.executable, "-m", "python_bridge", *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=environ, timeout=120, check=False, **more)


def told(*arguments: str, lm: str = "offline/extractive") -> tuple[int, bytes]:
    """Run the command in this process; return its status and what it printed."""
    done = CliRunner().invoke(app, arguments, env={"DSPEX_LM": lm})
    return done.exit_code, done.stdout_bytes


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.req("NFR2.2.2", "EX-6")
@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"q": 1}\r\n\r\n{"q": "\xe2\x80\xa8"}\r\n', [{"q": 1}, {"q": "\u2028"}]),
        ("cr.jsonl", b'{"q":\r1}\n{"q": 2}', [{"q": 1}, {"q": 2}]),
        ("empty.jsonl", b"", []),
        ("empty.csv", b"", []),
        ("bom.csv", b'\xef\xbb\xbfq,r\r\n"a ""b""\nc",1\r\n\r\nd\r\n', [{"q": 'a "b"\nc', "r": "1"}, {"q": "d"}]),
        ("long.csv", b"q\n" + b"x" * 200_000 + b"\n", [{"q": "x" * 200_000}]),
        ("odd \n\xc3\xa9.jsonl".encode().decode("utf-8"), b'{"q": 1}', [{"q": 1}]),
    ],
)
def test_files_as_other_programs_write_them_are_read(name: str, content: bytes, rows: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert list(read_items(tmp_path / name)) == rows


@pytest.mark.req("NFR2.2.2", "EX-6")
@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.jsonl", b'{"q": 1}\nbroken\n', "a.jsonl:2 is no JSON"),
        ("a.jsonl", b'{"q": 1}\n[' + b"[" * 100_000, "a.jsonl:2 is no JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1 is no JSON object"),
        ("a.jsonl", b'{"q": "caf\xe9"}\n', "is no UTF-8"),
        ("a.csv", b"q,r\n1,2\n1,2,3\n", "a.csv:3 has more fields than the 2 of the first line"),
        ("a.csv", b"q,q\n1,2\n", "names 'q' twice"),
        ("a.arrow", b"no arrow at all", "is no Arrow file"),
        ("a.arrow", b"", "cannot be read|is no Arrow file"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_their_line(
    name: str, content: bytes, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ItemsError, match=text):
        list(read_items(tmp_path / name))


@pytest.mark.req("EX-6", "EX-4")
def test_numbers_of_a_csv_file_stay_texts_where_the_program_wants_text(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('context,n,tags\n1e5,3,"[""a"", ""b""]"\n')
    assert told("batch", "context, n: int, tags: list[str] -> answer", str(source), str(target))[0] == 0
    assert written(target)[0]["error"] is None
    said = told("run", "context, question -> answer", "context=42", "question=@@home")
    assert said == (0, b"answer: 42\n")


@pytest.mark.req("EX-6")
def test_standard_input_and_output_may_stand_for_files(tmp_path: Path) -> None:
    done = bridge("batch", "context, question -> answer", "-", "-", given=b'{"context": "a b", "question": "c"}\n')
    assert done.returncode == 0
    assert json.loads(done.stdout)["success"] is True
    assert b"successful 1" in done.stderr


@pytest.mark.req("NFR2.2.2")
def test_a_batch_that_cannot_begin_leaves_no_file_behind(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"question": "?"}\n')
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"format": 1,\n "kind": predict}')
    for program, text in ((str(wrong), "wrong.json:2: no JSON"), ("q: strr -> a", "Did you mean `str`?")):
        status, printed = told("batch", program, str(source), str(target), "--json")
        assert status == 2
        assert text in json.loads(printed)["error"]
    status, printed = told("batch", SIGNATURE, str(source), str(target), "--json", lm="")
    assert status == 2
    assert "LM" in json.loads(printed)["error"]
    assert not target.exists() or not target.read_bytes()


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize(
    ("target", "text"),
    [("in.jsonl", "is what is read"), ("link.jsonl", "is what is read"), (".", "Is a directory"), ("no/o", "No such")],
)
def test_results_are_not_written_where_they_do_harm(target: str, text: str, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "?"}\n')
    (tmp_path / "link.jsonl").symlink_to(source)
    with pytest.raises(CommandError, match=text):
        Results(tmp_path / target, source, True, "p")
    assert source.read_text() == '{"question": "?"}\n'


@pytest.mark.req("EX-6")
def test_one_batch_at_a_time_writes_a_file(tmp_path: Path) -> None:
    first = Results(tmp_path / "out.jsonl", tmp_path / "in.jsonl", False, "p")
    with pytest.raises(CommandError, match="another batch writes it"):
        Results(tmp_path / "out.jsonl", tmp_path / "in.jsonl", True, "p")
    first.close()


@pytest.mark.req("EX-6")
def test_resume_tells_of_another_program_and_of_changed_inputs(tmp_path: Path) -> None:
    target, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    items = [{"q": 1}, {"q": 2}]
    results = Results(target, source, False, digest("program"))
    results.write(1, items[1], RESULT)
    results.write(0, items[0], {**RESULT, "success": False})
    results.close()

    def resumed(program: str, given: list[dict[str, Any]]) -> set[int]:
        again = Results(target, source, True, digest(program))
        try:
            return again.answered(given)
        finally:
            again.close()

    assert resumed("program", items) == {1}
    assert resumed("program", [{"q": "what failed may change"}, *items[1:], {"q": 3}]) == {1}
    with pytest.raises(CommandError, match=r"out.jsonl:1 was answered by another program"):
        Results(target, source, True, digest("other"))
    for changed in ([{"q": 1}, {"q": 7}], [{"q": 1}]):
        with pytest.raises(CommandError, match=r"out.jsonl:1 answers other inputs than item 1"):
            resumed("program", changed)


@pytest.mark.req("EX-6", "OWN-3")
def test_resume_mends_half_a_line_in_place_and_names_a_line_that_is_no_result(tmp_path: Path) -> None:
    target, source = tmp_path / "out.jsonl", tmp_path / "in.jsonl"
    whole = b'{"index": 0, "success": true}\n'
    target.write_bytes(whole + b'{"index": 1, "succ')
    before = target.stat().st_ino
    results = Results(target, source, True, "p")
    assert results.answered([{"q": 1}]) == {0}
    results.close()
    assert (target.read_bytes(), target.stat().st_ino) == (whole, before)
    for line in (b"broken\n", b"[1]\n", b'{"success": true}\n', b"\xff\n"):
        target.write_bytes(whole + line + whole)
        with pytest.raises(CommandError, match=r"out.jsonl:2 is no line of results"):
            Results(target, source, True, "p")


@pytest.mark.req("EX-6", "OWN-3")
def test_a_full_disk_ends_a_batch_with_whole_lines_and_resume_goes_on(tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    line = json.dumps({"context": "The mill has three stones. " * 20, "question": "how many?"}) + "\n"
    source.write_text(line * 30)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    command = ["batch", "context, question -> answer", str(source), str(target), "--json"]
    done = bridge(*command, preexec_fn=small)
    assert done.returncode == 1
    assert "cannot be written: File too large" in json.loads(done.stdout.splitlines()[-1])["error"]
    kept = [entry["index"] for entry in written(target)]
    assert 0 < len(kept) < 30
    resumed = json.loads(told(*command, "--resume")[1])
    assert (resumed["skipped"], resumed["successful"]) == (len(kept), 30 - len(kept))
    assert sorted(entry["index"] for entry in written(target)) == list(range(30))


@pytest.mark.req("EX-6", "OWN-3")
@pytest.mark.parametrize("kill", [True, False])
def test_a_kill_or_a_second_ctrl_c_loses_nothing_that_was_answered(kill: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"question": f"{number}?"}) + "\n" for number in range(6)))
    with OpenAIServer(default=Behaviour(fields={"answer": "yes"})) as server:
        environ = {"DSPEX_LM": "openai/any", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "x"}
        server.push(Behaviour(fields={"answer": "a"}, times=2), Behaviour(stall=True))
        command = ["batch", SIGNATURE, str(source), str(target), "--workers", "1", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "python_bridge", *command],
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        server.wait_for(requests=3)
        if kill:
            process.kill()
            assert process.wait(60) == -signal.SIGKILL
        else:
            assert process.stderr is not None
            process.send_signal(signal.SIGINT)
            while b"once more leaves it" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        process.communicate()
        server.release()
        assert len(written(target)) == 2
        resumed = json.loads(bridge(*command, "--resume", environ=environ).stdout)
    assert (resumed["skipped"], resumed["successful"]) == (2, 4)
    assert sorted(entry["index"] for entry in written(target)) == list(range(6))


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "no-such-program"],
        ["run", SIGNATURE, "--no-such-option"],
        ["run", SIGNATURE, "question"],
        ["run", "x" * 300 + " -> b: strr"],
        ["lm", "test", "none"],
        ["stats", "--url", "http://127.0.0.1:1"],
        ["config", "show", "--config", "/no/such/file"],
        ["sessions", "show", "none", "--store", "sqlite:////no/such/file.db"],
        ["nothing"],
    ],
)
def test_with_json_every_failure_is_json(arguments: list[str]) -> None:
    status, printed = told(*arguments, "--json")
    assert status in (1, 2)
    assert isinstance(json.loads(printed), dict)


@pytest.mark.req("NFR2.2.2", "FR1.1.4")
def test_an_lm_of_the_settings_is_chosen_by_its_name(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[lms.mine]\nmodel = "offline/extractive"\n')
    arguments = ["run", "context, question -> answer", "context=a b", "question=c", "--config", str(config)]
    status, printed = told(*arguments, "--lm", "mine", "--json", lm="")
    assert status == 0, printed
    assert json.loads(printed)["metadata"]["model"] == "offline/extractive"


@pytest.mark.req("NFR2.2.2")
def test_ctrl_c_ends_a_run_with_130_and_with_json_says_so() -> None:
    with OpenAIServer(default=Behaviour(stall=True)) as server:
        environ = {**os.environ, "DSPEX_LM": "openai/any", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "x"}
        command = [sys.executable, "-m", "python_bridge", "run", SIGNATURE, "question=?", "--json"]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        server.wait_for(requests=1)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
        server.release()
    assert (process.returncode, said) == (130, b"interrupted\n")
    assert json.loads(printed)["status"] == 130
