"""The journal and the tracker over it: nothing lost within the bound, drops counted, damage put aside, restarts."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from python_bridge.testing.gate import Gate
from python_bridge.tracking.journal import Journal
from python_bridge.tracking.journaled import JournaledTracker, TrackingOptions

Open = Callable[..., Journal]


class Collector:
    """An exporter into a list; fails as often as it is told to, and may wait at a gate."""

    def __init__(self, failures: int = 0, gate: Gate | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.failures = failures
        self.gate = gate

    def __call__(self) -> "Collector":
        return self

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        if self.gate is not None:
            self.gate.wait(30)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the tracking server is down")
        self.events += events
        self.batches.append(len(events))

    def close(self) -> None:
        return None


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p-{number:x}", "program": "P", "mode": "normal", "inputs": {}, "outputs": {}, **more}


@pytest.fixture
def opened() -> Iterator[Callable[..., Journal]]:
    """Open journals that are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *given, **named: stack.enter_context(contextlib.closing(Journal(*given, **named)))


def read_all(journal: Journal) -> list[bytes]:
    return journal.read(1000)[0]


@pytest.mark.req("EX-8")
def test_records_come_back_in_order_until_they_are_done_with(opened: Open, tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    assert journal.is_empty
    for number in range(10):
        assert journal.append(b"%d" % number)
    bodies, position = journal.read(4)
    assert bodies == [b"0", b"1", b"2", b"3"]
    assert journal.read(4)[0] == bodies, "what is not done comes again"
    journal.done(position)
    assert read_all(journal) == [b"%d" % number for number in range(4, 10)]
    assert ((tmp_path / "j").stat().st_mode & 0o777) == 0o700


@pytest.mark.req("EX-8")
def test_a_restart_goes_on_where_the_last_process_was(opened: Open, tmp_path: Path) -> None:
    first = opened(tmp_path / "j")
    for number in range(5):
        first.append(b"%d" % number)
    first.done(first.read(2)[1])
    first.close()
    second = opened(tmp_path / "j")
    second.append(b"new")
    assert read_all(second) == [b"2", b"3", b"4", b"new"]


@pytest.mark.req("EX-8")
def test_one_process_at_a_time_has_a_journal(opened: Open, tmp_path: Path) -> None:
    journal = opened(tmp_path / "j")
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "j")
    journal.close()


@pytest.mark.req("EX-8")
def test_a_full_journal_drops_and_counts(opened: Open, tmp_path: Path) -> None:
    journal = opened(tmp_path / "j", max_bytes=100)
    assert [journal.append(b"x" * 40) for _ in range(4)] == [True, True, False, False]
    assert journal.dropped == 2
    journal.done(journal.read(10)[1])
    assert len(read_all(journal)) == 0


@pytest.mark.req("EX-8")
@pytest.mark.parametrize("damage", ["torn", "flipped", "garbage"])
def test_damage_is_put_aside_and_what_follows_is_read(opened: Open, tmp_path: Path, damage: str) -> None:
    first = opened(tmp_path / "j")
    for body in (b"one", b"two", b"three"):
        first.append(body)
    first.close()
    path = next((tmp_path / "j").glob("*.journal"))
    whole = path.read_bytes()
    changed = {"torn": whole[:-2], "flipped": whole[:-1] + b"!", "garbage": whole[:22] + b"\xff" * 30}[damage]
    path.write_bytes(changed)
    second = opened(tmp_path / "j")
    second.append(b"four")
    assert read_all(second) == [b"one", b"two", b"four"]
    assert second.quarantined == 1
    assert list((tmp_path / "j").glob("*.damaged"))


@pytest.mark.req("EX-8")
def test_everything_recorded_is_exported_in_batches(tmp_path: Path) -> None:
    collector = Collector()
    tracker = JournaledTracker(TrackingOptions(tmp_path, batch=50), collector)

    def record(start: int) -> None:
        for number in range(start, start + 250):
            tracker.record(event(number))

    threads = [threading.Thread(target=record, args=(start,)) for start in (0, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.flush(30)
    assert sorted(int(item["id"][2:], 16) for item in collector.events) == list(range(500))
    assert max(collector.batches) <= 50
    stats = tracker.stats()
    assert (stats["recorded"], stats["exported"], stats["dropped"]) == (500, 500, 0)
    tracker.close()
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.req("EX-8")
def test_an_outage_loses_nothing_and_the_tracker_recovers_by_itself(tmp_path: Path) -> None:
    collector = Collector(failures=2)
    tracker = JournaledTracker(TrackingOptions(tmp_path, retry_s=0.01), collector)
    for number in range(20):
        tracker.record(event(number))
    assert tracker.flush(30)
    assert [item["id"] for item in collector.events] == [f"p-{number:x}" for number in range(20)]
    assert tracker.stats()["export_failures"] == 2
    assert "is down" in tracker.stats()["last_error"]
    tracker.close()


@pytest.mark.req("EX-8")
def test_who_waits_for_a_tracker_that_is_down_asks_it_once(tmp_path: Path) -> None:
    tracker = JournaledTracker(TrackingOptions(tmp_path, retry_s=1000, close_s=0), Collector(failures=100))
    tracker.record(event(1))
    assert not tracker.flush(1.7)
    assert 1 <= tracker.stats()["export_failures"] <= 2, "the one at work, and the one that was asked for"
    tracker.close()


@pytest.mark.req("EX-8")
def test_what_a_process_left_is_exported_by_the_next_one(tmp_path: Path) -> None:
    left = Journal(tmp_path / "1-dead")
    left.append(b'{"id": "old-1"}')
    left.append(b"no json")
    left.close()
    collector = Collector()
    tracker = JournaledTracker(TrackingOptions(tmp_path), collector)
    tracker.record(event(1))
    assert tracker.flush(30)
    tracker.close()
    assert [item["id"] for item in collector.events] == ["old-1", "p-1"]
    assert tracker.stats()["quarantined"] == 1


@pytest.mark.req("EX-8")
def test_what_is_no_json_is_told_by_its_repr(tmp_path: Path) -> None:
    collector = Collector()
    tracker = JournaledTracker(TrackingOptions(tmp_path), collector)
    tracker.record(event(1, inputs={"lock": threading.Lock(), "set": {1}, 3: float("nan")}))
    assert tracker.flush(30)
    assert "lock" in collector.events[0]["inputs"]["lock"]
    tracker.close()


@pytest.mark.req("EX-8")
def test_a_share_of_executions_can_be_tracked(tmp_path: Path) -> None:
    tracker = JournaledTracker(TrackingOptions(tmp_path, sampling=0.0), Collector())
    tracker.record(event(1))
    assert tracker.stats()["recorded"] == 0
    tracker.close()


@pytest.mark.req("EX-8")
def test_steps_are_wanted_a_few_times_a_second(tmp_path: Path) -> None:
    tracker = JournaledTracker(TrackingOptions(tmp_path, steps_a_second=2), Collector())
    assert 1 <= sum(tracker.wants_steps() for _ in range(1000)) <= 10
    tracker.close()
    none = JournaledTracker(TrackingOptions(tmp_path, steps_a_second=0), Collector())
    assert not none.wants_steps()
    none.close()
