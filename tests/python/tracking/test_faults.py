"""A journal under faults: damage anywhere, full disks, positions that lie, executions that a tracker refuses."""

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from python_bridge.testing.gate import Gate
from python_bridge.tracking.bodies import body_of
from python_bridge.tracking.journal import MAX_RECORD, Journal
from python_bridge.tracking.journaled import JournaledTracker, Refused, TrackingOptions

BODIES = [b"one", b"two", b"three"]


class Picky:
    """An exporter that raises what it is told to for some ids; made anew after each failure."""

    def __init__(self, refused: Callable[[], Exception], *ids: str) -> None:
        self.refused, self.ids = refused, ids
        self.exported: list[str] = []
        self._made = threading.Semaphore(0)

    def __call__(self) -> "Picky":
        self._made.release()
        return self

    def wait_made(self, times: int) -> None:
        """Wait until it was made so often: all failures but the latest are noted then."""
        for _ in range(times):
            assert self._made.acquire(timeout=30)

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        if any(event["id"] in self.ids for event in events):
            raise self.refused()
        self.exported += [event["id"] for event in events]

    def close(self) -> None:
        return None


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p-{number:x}", "program": "P", "mode": "normal", "inputs": {}, "outputs": {}, **more}


def filled(folder: Path) -> Path:
    with contextlib.closing(Journal(folder)) as journal:
        for body in BODIES:
            journal.append(body)
    return next(folder.glob("*.journal"))


@pytest.mark.req("EX-8")
def test_damage_to_any_byte_loses_nothing_before_it_and_nothing_written_after(tmp_path: Path) -> None:
    whole = filled(tmp_path / "j").read_bytes()
    starts = [0, 11, 22, len(whole)]
    for place in range(len(whole)):
        folder = tmp_path / str(place)
        path = filled(folder)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        before = sum(end <= place for end in starts[1:])
        with contextlib.closing(Journal(folder)) as journal:
            journal.append(b"new")
            bodies, position = journal.read(100)
            assert bodies == [*BODIES[:before], b"new"]
            assert journal.quarantined == 1
            journal.done(position)
            assert (journal.read(100)[0], journal.waiting_bytes) == ([], 0)


@pytest.mark.req("EX-8")
@pytest.mark.parametrize(
    "position",
    ["", "no json", "[]", "{}", '{"segment": 9000000, "offset": 0}', '{"segment": 1, "offset": 999999}',
     '{"segment": -1, "offset": -5}', '{"segment": 1, "offset": -5}', '{"segment": "x", "offset": null}'],
)  # fmt: skip
def test_a_position_that_lies_skips_nothing(position: str, tmp_path: Path) -> None:
    filled(tmp_path / "j")
    (tmp_path / "j" / "position.json").write_text(position)
    with contextlib.closing(Journal(tmp_path / "j")) as journal:
        journal.append(b"new")
        assert journal.read(100)[0] == [*BODIES, b"new"]


@pytest.mark.req("EX-8")
def test_damage_to_the_segment_that_is_being_written_does_not_stop_the_reading(tmp_path: Path) -> None:
    with contextlib.closing(Journal(tmp_path / "j")) as journal:
        for body in BODIES:
            journal.append(body)
        path = next((tmp_path / "j").glob("*.journal"))
        content = path.read_bytes()
        path.write_bytes(content[:12] + b"\xff" + content[13:])
        assert journal.read(100)[0] == [b"one"]
        journal.append(b"new")
        assert journal.read(100)[0] == [b"one", b"new"]
        assert journal.quarantined >= 1


class Overtaken(Journal):
    """A journal whose reader finds the end of a segment, and is overtaken there by those who write."""

    def __init__(self, folder: Path, *late: bytes) -> None:
        super().__init__(folder, max_bytes=160)
        self.late = [*late]

    def _open(self, segment: int) -> Any:
        file = super()._open(segment)
        return file and Overtaking(file, self)


class Overtaking:
    def __init__(self, file: Any, journal: Overtaken) -> None:
        self.seek, self.file, self.journal = file.seek, file, journal

    def read(self, size: int) -> bytes:
        found = self.file.read(size)
        while not found and self.journal.late:
            assert self.journal.append(self.journal.late.pop(0))
        return found


@pytest.mark.req("EX-8")
@pytest.mark.parametrize("early", [1, 2, 3])
def test_what_is_written_while_the_end_of_a_segment_is_read_is_not_skipped(early: int, tmp_path: Path) -> None:
    bodies = [b"a" * 8, b"b" * 8, b"c" * 8, b"d" * 8, b"e" * 8]
    with contextlib.closing(Overtaken(tmp_path / "j", *bodies[early:])) as journal:
        for body in bodies[:early]:
            journal.append(body)
        seen: list[bytes] = []
        for _ in range(3):
            found, position = journal.read(100)
            journal.done(position)
            seen += found
        assert (seen, journal.quarantined, journal.dropped) == (bodies, 0, 0)


@pytest.mark.req("EX-8")
def test_what_was_dealt_with_no_longer_waits_nor_fills_the_journal(tmp_path: Path) -> None:
    with contextlib.closing(Journal(tmp_path / "j", max_bytes=1000)) as journal:
        for _ in range(100):
            assert journal.append(b"x" * 50)
            assert journal.waiting_bytes == 58
            bodies, position = journal.read(10)
            assert len(bodies) == 1
            journal.done(position)
            assert journal.waiting_bytes == 0
        assert journal.dropped == 0


FULL = """
import resource, sys
from pathlib import Path
from python_bridge.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (250, resource.RLIM_INFINITY))
taken = [journal.append(b"%03d" % number + b"x" * 29) for number in range(10)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
taken.append(journal.append(b"after"))
bodies = journal.read(100)[0]
print(sum(taken), journal.dropped, len(bodies), bodies[-1].decode(), journal.quarantined)
"""


@pytest.mark.req("EX-8")
def test_a_disk_that_fills_up_drops_and_counts_and_tears_no_record(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "j")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["7", "4", "7", "after", "0"]
    assert len(list((tmp_path / "j").glob("*.journal"))) == 1, "no new file for each failure"


@pytest.mark.req("EX-8")
def test_a_position_that_cannot_be_written_does_not_stop_the_export(tmp_path: Path) -> None:
    picky = Picky(AssertionError)
    tracker = JournaledTracker(TrackingOptions(tmp_path, batch=5, max_bytes=4096), picky)
    next(path for path in tmp_path.iterdir()).joinpath("position.json.new").mkdir()
    for number in range(40):
        tracker.record(event(number, inputs={"text": "x" * 300}))
        if number % 5 == 4:
            assert tracker.flush(30)
    assert picky.exported == [f"p-{number:x}" for number in range(40)]
    assert (tracker.stats()["dropped"], tracker.stats()["export_failures"]) == (0, 0)
    tracker.close()


@pytest.mark.req("EX-8")
@pytest.mark.parametrize("error", [Refused("no such metric"), KeyError("started")])
def test_an_execution_that_the_tracker_refuses_is_put_aside_and_the_others_go_on(
    error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picky = Picky(lambda: error, "p-3", "p-5")
    tracker = JournaledTracker(TrackingOptions(tmp_path, retry_s=0.01), picky)
    with caplog.at_level(logging.WARNING):
        for number in range(8):
            tracker.record(event(number))
        assert tracker.flush(30)
    assert set(picky.exported) == {f"p-{number:x}" for number in (0, 1, 2, 4, 6, 7)}
    assert tracker.stats()["quarantined"] == 2
    kept = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in kept] == ["p-3", "p-5"]
    assert "p-5" in caplog.text
    tracker.close()


@pytest.mark.req("EX-8")
def test_a_tracker_that_refuses_everything_for_a_while_loses_nothing(tmp_path: Path) -> None:
    picky = Picky(lambda: Refused("the experiment is deleted"), "p-0", "p-1")
    tracker = JournaledTracker(TrackingOptions(tmp_path, retry_s=0.01), picky)
    tracker.record(event(0))
    tracker.record(event(1))
    picky.wait_made(4)
    picky.ids = ()
    assert tracker.flush(30)
    assert (sorted(picky.exported), tracker.stats()["quarantined"]) == (["p-0", "p-1"], 0)
    tracker.close()


@pytest.mark.req("EX-8", "NFR2.2.4")
def test_an_address_with_a_password_is_told_without_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picky = Picky(lambda: ConnectionError("http://me:hunter2@mlflow.internal/api is down"), "p-0")
    tracker = JournaledTracker(TrackingOptions(tmp_path, retry_s=0.01, close_s=0.1), picky)
    tracker.record(event(0))
    picky.wait_made(2)
    assert "http://***@mlflow.internal" in tracker.stats()["last_error"]
    assert "hunter2" not in caplog.text
    tracker.close()


@pytest.mark.req("EX-8")
def test_trackers_that_start_at_once_on_one_folder_lose_nothing(tmp_path: Path) -> None:
    pickies = [Picky(AssertionError) for _ in range(16)]
    barrier = threading.Barrier(len(pickies))

    def start(number: int) -> None:
        barrier.wait(30)
        tracker = JournaledTracker(TrackingOptions(tmp_path), pickies[number])
        tracker.record(event(number))
        assert tracker.flush(30)
        tracker.close()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(len(pickies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(one for picky in pickies for one in picky.exported) == sorted(event(n)["id"] for n in range(16))


@pytest.mark.req("EX-8")
def test_a_shutdown_does_not_wait_for_a_tracker_that_hangs(tmp_path: Path) -> None:
    gate = Gate()

    class Hanging(Picky):
        def export(self, events: Sequence[dict[str, Any]]) -> None:
            gate.wait(60)

    tracker = JournaledTracker(TrackingOptions(tmp_path, close_s=0.2), Hanging(AssertionError))
    tracker.record(event(0))
    began = time.monotonic()
    tracker.close()
    assert time.monotonic() - began < 30, "the gate is still shut"
    gate.open()


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.req("EX-8")
@pytest.mark.parametrize("value", ["\ud800", 2**70, Odd(), b"\xff", float("inf"), {"deep": None}])
def test_whatever_the_values_are_the_execution_is_kept(value: Any) -> None:
    if isinstance(value, dict):
        for _ in range(2000):
            value = [value]
    kept = orjson.loads(body_of(event(1, inputs={"odd": value, "plain": "text"}, outputs={"a": 1})))
    assert (kept["id"], kept["inputs"]["plain"], kept["outputs"]) == ("p-1", "text", {"a": 1})


@pytest.mark.req("EX-8")
def test_an_execution_that_is_too_large_is_kept_with_its_long_values_cut() -> None:
    large = event(1, inputs={"short": "text", "long": "x" * 5_000_000}, steps=[{"messages": "y" * 5_000_000}])
    body = body_of(large)
    kept = orjson.loads(body)
    assert len(body) < MAX_RECORD
    assert (kept["inputs"]["short"], kept["inputs"]["long"]) == ("text", "x" * 500)


@pytest.mark.req("EX-8")
def test_what_comes_after_the_end_is_dropped_and_counted(tmp_path: Path) -> None:
    picky = Picky(AssertionError)
    tracker = JournaledTracker(TrackingOptions(tmp_path), picky)
    tracker.record(event(0))
    tracker.close()
    tracker.record(event(1))
    assert (picky.exported, tracker.stats()["dropped"]) == (["p-0"], 1)
    assert not list(tmp_path.iterdir()), "no journal that nobody holds"
