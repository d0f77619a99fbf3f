"""`python-bridge lm`, `stats`, and batches from Arrow files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from python_bridge import __version__
from python_bridge.cli.app import app
from python_bridge.cli.items import ItemsError, read_items
from tests.python.http.conftest import PROGRAMS, TOKEN, Server

ROWS = [{"question": "one?", "n": 1}, {"question": "two?", "n": 2}, {"question": "three?", "n": None}]


def bridge(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"DSPEX_LM": "offline/extractive"})


@pytest.mark.req("FR1.1.4", "NFR4.2.4")
def test_an_lm_is_listed_and_asked() -> None:
    done = bridge("lm", "test", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["ok"], told["model"]) == (0, True, "offline/extractive")
    listed = json.loads(bridge("lm", "list", "--json").stdout)["lms"]
    assert {"name": "default", "model": "offline/extractive", "default": True, "cache": False} in listed


@pytest.mark.req("NFR2.2.2")
def test_an_lm_that_is_not_there_is_status_1_with_what_to_do() -> None:
    done = bridge("lm", "test", "none")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no LM named 'none'" in done.stderr
    told = json.loads(bridge("lm", "test", "none", "--json").stdout)
    assert (told["ok"], told["data"]["kind"]) == (False, "not_found")


@pytest.fixture
def server(tmp_path: Path) -> Any:
    running = Server(tmp_path)
    yield running
    running.close()


@pytest.mark.req("EX-9", "RT-1")
def test_the_statistics_of_a_server_are_shown(server: Server) -> None:
    with server.client() as client:
        client.post("/execute", json={"program_id": next(iter(PROGRAMS)), "inputs": {"question": "?"}})
    flags = ["stats", "--url", server.url, "--token", TOKEN]
    told = json.loads(CliRunner().invoke(app, [*flags, "--json"]).stdout)
    assert told["total_executions"] == 1
    shown = CliRunner().invoke(app, flags).stdout
    assert "total_executions" in shown
    assert "processes.0.pid" in shown
    refused = CliRunner().invoke(app, ["stats", "--url", server.url, "--token", "wrong"])
    assert refused.exit_code == 1
    assert "token" in refused.output


@pytest.mark.req("EX-6", "FR2.2.2")
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_a_batch_is_read_from_an_arrow_file_or_stream(new: Any, tmp_path: Path) -> None:
    table, path = pa.Table.from_pylist(ROWS), tmp_path / "in.arrow"
    with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert list(read_items(path)) == ROWS


@pytest.mark.req("NFR2.2.2")
def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "in.arrow").write_bytes(b"nonsense, and not a little of it")
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n[1]\n')
    for name, words in (("in.arrow", "is no Arrow file"), ("in.jsonl", "in.jsonl:2 is no JSON object")):
        with pytest.raises(ItemsError, match=words):
            list(read_items(tmp_path / name))


def test_small_commands_speak_json_too() -> None:
    assert json.loads(CliRunner().invoke(app, ["version", "--json"]).stdout) == {"version": __version__}
    assert set(json.loads(CliRunner().invoke(app, ["token", "--json"]).stdout)) == {"token", "hash"}
