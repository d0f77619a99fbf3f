"""Runs every gate of `make test` and says at the end how each went, what was skipped, and the tests' own last lines.

`python scripts/gates.py pytest ruff` runs only the gates whose names start so.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = str(ROOT / ".venv" / "bin" / "python")
MINUTES = 60.0
FEW = 3
"""Above this many failed tests something is broken, not unstable."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_CLOSING = re.compile(
    r"^=* ?(\d+ (passed|failed|error|skipped).* in [\d.]+s.*?|(\d+ \w+, )*\d+ tests?, \d+ failures?.*?)=*$"
)
_SKIPPED = re.compile(r"^(SKIPPED |XFAIL |skipped: )")
_FAILED = re.compile(r"^(FAILED|ERROR) \S+::|^\d+\) (test|doctest|property) ")
_TOTAL = re.compile(r"^TOTAL\s.*\d%$|^\[TOTAL\].*|^\s*[\d.]+% \| Total$")


@dataclass(frozen=True, slots=True)
class Gate:
    """Commands that must end with status 0. Output is shown as it comes (`live`) or on failure.

    `again` runs only the tests that failed, once, when they are at most `FEW`: what passes then is named as unstable in
    the last lines, and the gate counts as passed.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    live: bool = False
    timeout: float = 5 * MINUTES
    again: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a gate went: `output` is all that it printed, `seconds` what it took."""

    gate: Gate
    status: int
    seconds: float
    output: str
    unstable: tuple[str, ...] = ()

    def lines(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the lines of the output that match, without colours."""
        return [line.strip() for line in _ANSI.sub("", self.output).splitlines() if pattern.search(line.strip())]


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module or script with the checkout's Python."""
    return (PYTHON, *arguments)


TEST_ENV = {"MIX_ENV": "test"}

# Two of these run at a time: none has timing in it.
STATIC = [
    Gate("tracked files", (python("scripts/tree.py"),)),
    Gate("ruff check", (python("-m", "ruff", "check"),)),
    Gate("ruff format", (python("-m", "ruff", "format", "--check"),)),
    Gate("generated code", (python("scripts/proto.py", "--check"),)),
    Gate("layers", ((str(ROOT / ".venv" / "bin" / "lint-imports"),),)),
    Gate("pyright", (python("-m", "pyright", "--warnings"),)),
    Gate("mix format", (("mix", "format", "--check-formatted"),)),
    Gate("mix compile", (("mix", "compile", "--force", "--warnings-as-errors"),), env=TEST_ENV),
]
# These use the machine as their tests need it: one after the other.
TESTS = [
    Gate("mix xref", (("mix", "xref", "graph", "--format", "cycles", "--fail-above", "0"),), env=TEST_ENV),
    Gate(
        "pytest",
        (
            python("-m", "coverage", "erase"),
            python("-m", "coverage", "run", "-m", "pytest"),
        ),
        live=True,
        timeout=30 * MINUTES,
        again=python("-m", "coverage", "run", "-m", "pytest", "--last-failed", "--last-failed-no-failures", "none"),
    ),
    Gate(
        "Python coverage",
        (python("-m", "coverage", "combine", "--quiet"), python("-m", "coverage", "report")),
        live=True,
    ),
    Gate(
        "ExUnit, interop and coverage",
        (
            (
                "mix",
                "test",
                "--cover",
                "--formatter",
                "ExUnit.CLIFormatter",
                "--formatter",
                "DSPex.Test.SkipFormatter",
            ),
        ),
        live=True,
        timeout=30 * MINUTES,
        again=("mix", "test", "--failed"),
        env=TEST_ENV,
    ),
]


def run(gate: Gate) -> Outcome:
    """Run the gate's commands until one fails; past the timeout its whole process group is killed."""
    started, output, status = time.monotonic(), [], 0
    for command in gate.commands:
        status = _run_command(command, gate, started, output)
        if status:
            break
    outcome = Outcome(gate, status, time.monotonic() - started, "".join(output))
    return _run_again(outcome, started) if status and gate.again else outcome


def _run_again(outcome: Outcome, started: float) -> Outcome:
    failed, output = outcome.lines(_FAILED), [outcome.output]
    if not 0 < len(failed) <= FEW:
        return outcome
    print(f"{outcome.gate.name}: running again what failed", flush=True)
    status = _run_command(outcome.gate.again, outcome.gate, started, output)
    unstable = () if status else tuple(failed)
    return replace(
        outcome, status=status, seconds=time.monotonic() - started, output="".join(output), unstable=unstable
    )


def _run_command(command: Sequence[str], gate: Gate, started: float, output: list[str]) -> int:
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "LANG": "C.UTF-8", **gate.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        left = max(gate.timeout - (time.monotonic() - started), 0)
        timer = threading.Timer(left, _kill_group, [process.pid, gate, output])
        timer.start()
        for line in process.stdout or ():
            output.append(line)
            if gate.live:
                print(line, end="", flush=True)
        status = process.wait()
        timer.cancel()
    return status


def _kill_group(pid: int, gate: Gate, output: list[str]) -> None:
    output.append(f"{gate.name}: not done after {gate.timeout:.0f} s, killed\n")
    os.killpg(pid, signal.SIGKILL)


def run_static(gates: Sequence[Gate]) -> list[Outcome]:
    """Run the gates two at a time; print a line for each that is done, and the output of those that failed."""
    with ThreadPoolExecutor(2) as pool:
        outcomes = []
        for outcome in pool.map(run, gates):
            print(_line(outcome), flush=True)
            if outcome.status:
                print(outcome.output, flush=True)
            outcomes.append(outcome)
        return outcomes


def run_tests(gates: Sequence[Gate]) -> list[Outcome]:
    """Run the gates one after the other, with a heading before those that show their output."""
    outcomes = []
    for gate in gates:
        if gate.live:
            print(f"\n── {gate.name} " + "─" * max(60 - len(gate.name), 3), flush=True)
        outcome = run(gate)
        if not gate.live:
            print(_line(outcome), flush=True)
        if outcome.status and not gate.live:
            print(outcome.output, flush=True)
        outcomes.append(outcome)
    return outcomes


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the last lines of a run: each gate, the tests' own closing lines, what was skipped, the verdict."""
    failed = [outcome.gate.name for outcome in outcomes if outcome.status]
    lines = ["", "── gates " + "─" * 55, *map(_line, outcomes), ""]
    for outcome in outcomes:
        lines += [f"{outcome.gate.name}: {line}" for line in outcome.lines(_TOTAL)[-1:]]
        lines += [f"{outcome.gate.name}: {line}" for line in outcome.lines(_CLOSING)[: 1 + bool(outcome.unstable)]]
        lines += [f"{outcome.gate.name}: failed: {line}" for line in outcome.lines(_FAILED) if outcome.status]
        lines += [f"{outcome.gate.name}: unstable, passed when run again: {line}" for line in outcome.unstable]
    skipped = [f"  {line}" for outcome in outcomes for line in outcome.lines(_SKIPPED)]
    lines += [f"skipped: {len(skipped)} tests", *skipped] if skipped else ["skipped: nothing"]
    verdict = f"failed: {', '.join(failed)}" if failed else "all gates passed"
    return "\n".join([*lines, f"{verdict} ({seconds:.0f} s)", f"exit status {1 if failed else 0}"])


def _line(outcome: Outcome) -> str:
    mark = "failed" if outcome.status else "ok"
    return f"{mark:<7}{outcome.gate.name:<34}{outcome.seconds:7.1f} s"


def main(names: Sequence[str]) -> int:
    """Run the gates whose names start with one of `names` (all without names); return the exit status."""
    started = time.monotonic()

    def chosen(gates: Sequence[Gate]) -> list[Gate]:
        return [gate for gate in gates if not names or gate.name.lower().startswith(tuple(n.lower() for n in names))]

    outcomes = [*run_static(chosen(STATIC)), *run_tests(chosen(TESTS))]
    if not outcomes:
        print(f"no gate is called {', '.join(names)}; there are: {', '.join(g.name for g in [*STATIC, *TESTS])}")
        return 2
    print(summary(outcomes, time.monotonic() - started), flush=True)
    return 1 if any(outcome.status for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main([name for argument in sys.argv[1:] for name in argument.split(",")]))
