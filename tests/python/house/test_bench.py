"""The harness of the benchmarks: statistics, goals, comparison with committed ratios."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import commit, main, measure, table
from bench.programs import Program, chosen, run
from bench.rows import Row, regression, row_from
from bench.stats import Stats, stats


def report(**changes: object) -> dict[str, object]:
    return {"id": "P1", "name": "ping", "unit": "us", "samples": [4, 2, 3], "baseline": [1, 2], **changes}


def reporting(*lines: str, status: int = 0) -> Program:
    code = f"print({chr(10).join(lines)!r}); raise SystemExit({status})"
    return Program(("P1",), (sys.executable, "-c", code))


def test_statistics_are_nearest_ranks() -> None:
    assert stats(range(1, 101)) == Stats(1, 50, 99, 100)
    assert stats([7]) == Stats(7, 7, 7, 1)


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        stats([])


@pytest.mark.parametrize(
    ("goal", "ok"),
    [("ratio <= 3.0", True), ("ratio <= 2.9", False), ("value >= 3", True), ("value >= 4", False), ("", None)],
)
def test_a_row_knows_whether_its_goal_is_reached(goal: str, ok: bool | None) -> None:
    row = row_from(report(goal=goal))
    assert (row.value, row.baseline, row.ratio, row.ok) == (3, 1, 3.0, ok)


@pytest.mark.parametrize("goal", ["fast", "ratio < 2", "ratio <= x"])
def test_a_goal_that_cannot_be_read_is_an_error(goal: str) -> None:
    with pytest.raises(ValueError, match="can't be read"):
        row_from(report(goal=goal))


def test_a_goal_on_the_ratio_needs_a_baseline() -> None:
    with pytest.raises(ValueError, match="has no baseline"):
        row_from(report(goal="ratio <= 2", baseline=None))


@pytest.mark.req("QS-1")
@pytest.mark.parametrize(
    ("better", "committed", "worse"),
    [("lower", 2.41, False), ("lower", 2.39, True), ("higher", 3.99, False), ("higher", 4.01, True)],
)
def test_a_ratio_more_than_a_quarter_worse_than_the_committed_one_is_told(
    better: str, committed: float, worse: bool
) -> None:
    told = regression(row_from(report()), {"P1 ping": {"ratio": committed, "better": better}})
    assert (told is not None) == worse


def test_a_row_that_was_never_committed_is_no_regression() -> None:
    assert regression(row_from(report()), {}) is None


def test_committing_keeps_the_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "ratios.json"
    commit([row_from(report(goal="ratio <= 2"))], path)
    commit([row_from(report(id="P2", name="echo", goal="ratio >= 0.2"))], path)
    commit([row_from(report(id="", name="rate", better="higher"))], path)
    assert json.loads(path.read_text()) == {
        "P1 ping": {"ratio": 3.0, "better": "lower"},
        "P2 echo": {"ratio": 3.0, "better": "higher"},
        "rate": {"ratio": 3.0, "better": "higher"},
    }


def test_each_measured_row_is_one_line_of_the_results(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    program = reporting("compiling", json.dumps(report()), json.dumps(report(name="echo")))
    rows = measure([program], Console(quiet=True), results)
    written = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["name"] for row in written] == ["ping", "echo"]
    assert written[0] == json.loads(rows[0].to_json())
    assert {"id", "name", "value", "unit", "baseline", "ratio", "goal", "ok"} <= written[0].keys()


def test_a_program_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ended with status 5"):
        list(run(reporting("{}", status=5)))


def test_rows_are_picked_by_id_and_the_short_set_leaves_the_full_ones_out() -> None:
    short, long = Program(("P1", "P2"), ("a",)), Program(("P14",), ("b",), full=True)
    assert chosen(["p2"], False, [short, long]) == [short]
    assert chosen(["P14"], False, [short, long]) == [long]
    assert chosen([], False, [short, long]) == [short]
    assert chosen([], True, [short, long]) == [short, long]


def test_an_unknown_row_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "P99"]) == 2
    assert "no program measures P99" in capsys.readouterr().err


def test_the_table_shows_whether_goals_are_reached() -> None:
    rows: list[Row] = [row_from(report(goal="ratio <= 2")), row_from(report(goal="", baseline=None))]
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(table(rows))
    first, second = console.export_text().splitlines()[1:]
    assert first.split() == ["P1", "ping", "3", "2", "4", "us", "1", "3", "ratio", "<=", "2", "no"]
    assert second.split() == ["P1", "ping", "3", "2", "4", "us"]
