"""The history of executions on its own."""

import asyncio
import concurrent.futures
import contextlib
import datetime
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.store.history import History
from python_bridge.wire.told import decode_told, encode_told


@pytest.mark.req("RT-1")
def test_only_the_newest_executions_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", keep=10)
    for number in range(600):
        history.add(f"e{number}", "p", True, b'{"n":%d}' % number)
        if number % 100 == 0:
            history.flush()
    history.flush()
    assert history.get("e599") == b'{"n":599}'
    assert history.get("e0") is None
    assert len(history.recent(1000)) < 300
    history.close()


@pytest.mark.req("RT-1", "EX-8")
def test_a_file_that_is_no_database_is_put_aside_and_the_service_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    path.write_bytes(b"this is no database, however long it is" * 100)
    history = History(path)
    history.add("e", "p", True, b"1")
    assert history.get("e") == b"1"
    history.close()
    assert (tmp_path / "h.db.damaged").exists()
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BridgeError, match="file"):
        History(tmp_path / "file" / "h.db")


def test_a_claim_that_failed_gives_its_key_back(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    assert history.claim("k", b"1") is None
    with pytest.raises(BridgeError, match="still runs"):
        history.claim("k", b"1")
    history.answer("k", None)
    assert history.claim("k", b"1") is None
    history.answer("k", b"1")
    assert history.claim("k", b"1") == b"1"
    with pytest.raises(BridgeError, match="another request"):
        history.claim("k", b"2")
    history.close()


@pytest.mark.req("RT-2", "FR1.2.4")
@pytest.mark.parametrize(
    "value", [2**70, 10**400, float("inf"), datetime.date(2026, 1, 2), frozenset({"a"}), {"$type": 1}]
)
def test_what_json_lacks_is_kept_as_it_is(tmp_path: Path, value: Any) -> None:
    history = History(tmp_path / "history.db")
    try:
        history.add("e", "p", True, encode_told({"outputs": {"n": value}}))
        history.flush()
        assert decode_told(history.get("e") or b"") == {"outputs": {"n": value}}
        assert history.recent()[0]["outputs"] == {"n": value}
    finally:
        history.close()


@pytest.mark.req("RT-2")
def test_half_a_surrogate_pair_does_not_keep_an_execution_out(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    try:
        history.add("e", "p", True, encode_told({"outputs": {"text": "a\ud800b"}}))
        assert decode_told(history.get("e") or b"") == {"outputs": {"text": "a\ufffdb"}}
    finally:
        history.close()


@pytest.mark.req("RT-1", "EX-6", "NFR2.1.2")
def test_a_job_whose_process_was_killed_has_failed_and_its_key_is_free(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    begin = (
        "import os, pathlib, sys\n"
        "from python_bridge.store.history import History\n"
        "history = History(pathlib.Path(sys.argv[1]))\n"
        "history.start_job('j', 3)\n"
        "history.update_job('j', 1, 0)\n"
        "history.claim('k', b'1')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", begin, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        history = History(path)
        assert (history.job("j") or {})["status"] == "running"
        with pytest.raises(BridgeError, match="still runs"):
            history.claim("k", b"1")
        process.kill()
        process.wait(30)
        job = history.job("j") or {}
        assert (job["status"], job["done"]) == ("failed", 1)
        assert "ended when 1 of 3 items were done" in job["error"]
        assert history.claim("k", b"1") is None
        with pytest.raises(BridgeError, match="still runs"):
            history.claim("k", b"1")
        history.close()
    History(path).close()
    assert [file.name for file in tmp_path.glob("*.lock")] == []


@pytest.mark.req("RT-1", "BC2")
def test_a_file_of_before_is_taken_over(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "h.db")) as old:
        old.execute(
            "CREATE TABLE jobs (id TEXT PRIMARY KEY, status TEXT NOT NULL, total INTEGER NOT NULL, done INTEGER NOT"
            " NULL, failed INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL, error TEXT,"
            " body BLOB)"
        )
        old.execute("INSERT INTO jobs VALUES ('j', 'running', 1, 0, 0, 0, 1.0, NULL, NULL)")
        old.commit()
    history = History(tmp_path / "h.db")
    assert (history.job("j") or {})["status"] == "failed"
    history.close()


def damaged(path: Path) -> History:
    """A history that finds its damage when it reads."""
    history = History(path)
    for number in range(200):
        history.add(f"e{number}", "p", True, b"x" * 1000)
    history.close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xff" * (path.stat().st_size - 3 * 4096))
    return History(path)


@pytest.mark.req("RT-1", "EX-8", "NFR2.1.2")
def test_a_database_that_is_damaged_within_is_put_aside_while_the_service_goes_on(tmp_path: Path) -> None:
    history = damaged(tmp_path / "h.db")
    with pytest.raises(BridgeError) as caught:
        assert all(history.get(f"e{number}") for number in range(200))
    assert (caught.value.kind, caught.value.retryable) == ("unavailable", True)
    history.start_job("j", 1)
    history.add("new", "p", True, b"1")
    history.flush()
    assert history.get("new") == b"1"
    assert (tmp_path / "h.db.damaged").exists()
    history.close()


@pytest.mark.req("RT-1", "EX-8")
def test_a_disk_that_takes_no_more_is_told_and_counted(tmp_path: Path) -> None:
    fill = """
import pathlib, resource, sys
from python_bridge.errors import BridgeError
from python_bridge.store.history import History
history = History(pathlib.Path(sys.argv[1]))
history.add("e", "p", True, b"1")
history.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
history.add("large", "p", True, b"x" * 400_000)
history.flush()
assert history.dropped == 1
assert history.get("e") == b"1"
try:
    history.claim("k" * 400_000, b"1")
except BridgeError as error:
    assert error.kind == "unavailable", error
    print("told")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
history.add("later", "p", True, b"2")
history.close()
"""
    command = [sys.executable, "-c", fill, str(tmp_path / "h.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
    history = History(tmp_path / "h.db")
    assert (history.get("later"), history.get("large")) == (b"2", None)
    history.close()


@pytest.mark.req("RT-1", "NFR2.1.2")
def test_executions_wait_for_a_process_that_holds_the_file(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "h.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        history.add("e", "p", True, b"1")
        asyncio.run(nothing_is_told_written(history))
        with pytest.raises(BridgeError, match="locked") as caught:
            history.claim("k", b"1")
        assert (history.get("e"), history.dropped) == (b"1", 0)
        other.execute("ROLLBACK")
    history.close()
    assert caught.value.retryable
    history = History(tmp_path / "h.db")
    assert history.get("e") == b"1"
    history.close()


async def nothing_is_told_written(history: History) -> None:
    waiting = asyncio.ensure_future(history.written())
    await asyncio.sleep(0)
    history.flush()
    for _ in range(5):  # what would tell it takes some turns of the loop
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.req("RT-1", "EX-8")
def test_an_execution_that_cannot_be_written_does_not_keep_the_others_out(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    not_bytes: Any = object()
    history.add("strange", "p", True, not_bytes)
    history.flush()
    history.add("e", "half of \ud800", True, b"1")
    history.flush()
    assert history.dropped == 1
    assert (history.pending("e"), history.get("e")) == (None, b"1")
    history.close()


@pytest.mark.req("RT-1", "EX-8")
def test_a_history_whose_damaged_file_could_not_be_replaced_at_once_goes_on_later(tmp_path: Path) -> None:
    history = damaged(tmp_path / "h.db")
    (tmp_path / "h.db.damaged" / "in the way").mkdir(parents=True)
    with (tmp_path / "h.db").open("r+b") as file:
        file.write(b"this is no database")
    for _ in range(2):
        with pytest.raises(BridgeError, match="cannot be used"):
            assert all(history.get(f"e{number}") for number in range(200))
    shutil.rmtree(tmp_path / "h.db.damaged")
    with pytest.raises(BridgeError, match="cannot be used"):
        history.get("e0")
    history.add("e", "p", True, b"1")
    history.flush()
    assert (history.pending("e"), history.get("e")) == (None, b"1")
    history.close()


@pytest.mark.req("RT-1")
def test_a_key_is_kept_as_long_as_its_request_is_at_work_and_ten_minutes_longer(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    history, other = History(path), History(path)
    assert history.claim("k", b"1") is None
    with contextlib.closing(sqlite3.connect(path)) as aged, aged:
        aged.execute("UPDATE answers SET at = at - 3600")
    with pytest.raises(BridgeError, match="still runs"):
        other.claim("k", b"1")
    history.answer("k", b"answer")
    later = History(path)
    assert later.claim("k", b"1") == b"answer"
    for one in (history, other, later):
        one.close()


@pytest.mark.req("RT-1", "EX-8")
def test_processes_that_find_a_damaged_file_at_a_time_begin_one_new_file(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    path.write_bytes(b"this is no database, however long it is" * 100)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda _: History(path), range(16)))
    for number, history in enumerate(opened):
        history.add(f"e{number}", "p", True, b"1")
        history.flush()
    assert [opened[0].get(f"e{number}") for number in range(16)] == [b"1"] * 16
    for history in opened:
        history.close()
    assert (tmp_path / "h.db.damaged").read_bytes().startswith(b"this is no database")


@pytest.mark.req("RT-1")
def test_a_key_is_free_again_after_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    for _ in range(2):
        history = History(path)
        assert history.claim("k", b"1") is None
        history.answer("k", b"1")
        assert history.claim("k", b"1") == b"1"
        history.close()
        with contextlib.closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE answers SET at = at - 601")
