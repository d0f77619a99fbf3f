"""The runner of `make test`: what it runs, what it tells, and its exit status."""

import sys

import pytest

from scripts.gates import Gate, Outcome, main, run, run_static, run_tests, summary


def gate(code: str, *, name: str = "a gate", live: bool = False, timeout: float = 60.0) -> Gate:
    return Gate(name, ((sys.executable, "-c", code),), live=live, timeout=timeout)


def test_a_gate_gives_its_status_and_all_of_its_output() -> None:
    outcome = run(gate("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"))
    assert outcome.status == 3
    assert sorted(outcome.output.splitlines()) == ["err", "out"]


def test_a_gate_stops_at_its_first_command_that_fails() -> None:
    commands = ((sys.executable, "-c", "raise SystemExit(4)"), (sys.executable, "-c", "print('second')"))
    outcome = run(Gate("two", commands))
    assert outcome.status == 4
    assert "second" not in outcome.output


def test_a_gate_past_its_timeout_is_killed_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    outcome = run(gate(code, timeout=1.0))
    assert outcome.status != 0
    assert "a gate: not done after 1 s, killed" in outcome.output


def test_a_static_gate_shows_its_output_only_when_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    run_static([gate("print('quiet')", name="good"), gate("print('loud'); raise SystemExit(1)", name="bad")])
    shown = capfd.readouterr().out
    assert "quiet" not in shown
    assert "loud" in shown


def test_a_live_gate_shows_its_output_once(capfd: pytest.CaptureFixture[str]) -> None:
    run_tests([gate("print('loud'); raise SystemExit(1)", live=True)])
    assert capfd.readouterr().out.count("loud") == 1


def test_the_last_lines_hold_the_tests_own_closing_lines_and_what_was_skipped() -> None:
    pytest_output = (
        "SKIPPED [1] tests/python/test_a.py:3: no GPU here\n"
        "\x1b[32m========= \x1b[32m\x1b[1m12 passed\x1b[0m, \x1b[33m1 skipped\x1b[0m in 3.50s ======\x1b[0m\n"
    )
    exunit_output = (
        "skipped: MyTest test b: no Nx here\n2 doctests, 1 property, 40 tests, 0 failures, 1 skipped\n"
        "Generating cover results ...\n    92.50% | Total\n"
    )
    outcomes = [
        Outcome(gate("", name="pytest"), 0, 3.6, pytest_output),
        Outcome(gate("", name="coverage"), 0, 1.0, "TOTAL       100     5    95%\n"),
        Outcome(gate("", name="ExUnit"), 0, 9.0, exunit_output),
    ]
    text = summary(outcomes, 14.0)
    assert "pytest: ========= 12 passed, 1 skipped in 3.50s ======" in text
    assert "ExUnit: 2 doctests, 1 property, 40 tests, 0 failures, 1 skipped" in text
    assert "coverage: TOTAL       100     5    95%" in text
    assert "ExUnit: 92.50% | Total" in text
    assert text.endswith(
        "skipped: 2 tests\n"
        "  SKIPPED [1] tests/python/test_a.py:3: no GPU here\n"
        "  skipped: MyTest test b: no Nx here\n"
        "all gates passed (14 s)\nexit status 0"
    )


FIRST_RUN = (
    "print('FAILED tests/a.py::test_b - assert 1'); print('= 1 failed, 3 passed in 1.0s ='); raise SystemExit(1)"
)


def twice(first: str, second: str) -> Gate:
    return Gate("pytest", ((sys.executable, "-c", first),), again=(sys.executable, "-c", second))


def test_a_test_that_passes_when_run_again_is_named_as_unstable() -> None:
    outcome = run(twice(FIRST_RUN, "print('= 1 passed in 0.1s =')"))
    assert outcome.status == 0
    text = summary([outcome], 1.0)
    assert "pytest: unstable, passed when run again: FAILED tests/a.py::test_b - assert 1" in text
    assert "pytest: = 1 failed, 3 passed in 1.0s =\npytest: = 1 passed in 0.1s =" in text


def test_a_test_that_fails_again_fails_the_gate_and_is_named_at_the_end() -> None:
    outcome = run(twice(FIRST_RUN, "raise SystemExit(1)"))
    assert outcome.status == 1
    assert "pytest: failed: FAILED tests/a.py::test_b - assert 1" in summary([outcome], 1.0)


def test_many_failures_and_a_failure_without_a_failed_test_are_not_run_again() -> None:
    many = "for n in range(4): print(f'FAILED tests/a.py::test_{n} - x')\nraise SystemExit(1)"
    for first in (many, "raise SystemExit(2)"):
        outcome = run(twice(first, "print('second')"))
        assert outcome.status != 0
        assert "second" not in outcome.output


def test_one_failed_gate_fails_the_run_and_is_named() -> None:
    outcomes = [Outcome(gate("", name="ruff"), 1, 0.1, ""), Outcome(gate("", name="mix"), 0, 0.1, "")]
    assert summary(outcomes, 1.0).endswith("skipped: nothing\nfailed: ruff (1 s)\nexit status 1")


def test_an_unknown_gate_is_told_with_the_names_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "no gate is called nonsense; there are: tracked files, ruff check" in capfd.readouterr().out
