"""`make soak`: prints how far it is, then a table; the exit status is 1 when anything does not hold."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from soakkit import faults
from soakkit.checks import Check, failures
from soakkit.soak import Options, Report, soak
from soakkit.work import WORKS


def read(arguments: Sequence[str] | None) -> tuple[Options, bool]:
    """Return the options of the command line, and whether faults of the machine belong to it."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--kill-every", type=int, default=500, help="calls between two disturbances")
    parser.add_argument("--engine", choices=sorted(WORKS), default="dspy")
    parser.add_argument("--lanes", type=int, default=32, help="clients at a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", help="URL of the sessions' database; a SQLite file of its own by default")
    parser.add_argument("--no-faults", action="store_true", help="leave out the faults of the machine")
    given = parser.parse_args(arguments)
    options = Options(given.calls, given.kill_every, given.engine, given.lanes, seed=given.seed, store=given.store)
    return options, not given.no_faults


def run(options: Options, console: Console) -> Report:
    """Run the soak with a bar (on a terminal) or a line for every tenth (elsewhere)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with tempfile.TemporaryDirectory(prefix="dspex-soak-") as folder:
        if not console.is_terminal:
            return asyncio.run(soak(options, Path(folder), _lines(options.calls, console)))
        with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(f"soak, {options.engine}", total=options.calls)
            return asyncio.run(soak(options, Path(folder), lambda done: bar.update(task, completed=done)))


def _lines(calls: int, console: Console):
    def tell(done: int) -> None:
        if done % max(1, calls // 10) == 0:
            console.print(f"{done:,} of {calls:,} calls")

    return tell


def show(report: Report, console: Console) -> None:
    """Print what was done, what was checked, and what does not hold."""
    book = report.book
    done = Table("calls", "", box=None, title="What was done", title_justify="left")
    done.columns[1].justify = "right"
    for name, count in sorted(book.calls.items()):
        done.add_row(name, f"{count:,}")
    for name, count in sorted(book.disturbances.items()):
        done.add_row(f"[dim]disturbed by[/] {name}", f"{count:,}")
    for name, count in sorted(book.repeated.items()):
        done.add_row(f"[dim]answered with[/] {name}", f"{count:,}")
    done.add_row("[dim]sessions[/]", f"{book.sessions:,}")
    done.add_row("[dim]changes acknowledged[/]", f"{book.acknowledged:,}")
    done.add_row("[dim]changes of unknown fate[/]", f"{book.unknown:,}")
    console.print(done)
    console.print(checks_table(report.checks))
    for problem in report.problems():
        console.print(f"[red]does not hold:[/] {escape(problem)}", highlight=False)
    verdict = "[green]everything holds[/]" if report.ok else "[red]failed[/]"
    console.print(f"{book.answered:,} calls in {report.seconds:.0f} s: {verdict}")


def checks_table(checks: Sequence[Check], title: str = "What must hold") -> Table:
    """Return the checks as a table."""
    table = Table("check", "found", "wanted", "ok", box=None, title=title, title_justify="left")
    for check in checks:
        texts = [escape(text) for text in (check.name, check.found, check.wanted)]
        table.add_row(*texts, "[green]yes[/]" if check.ok else "[red]no[/]")
    return table


def run_faults(console: Console) -> bool:
    """Cause the faults of the machine at their full length; print what was found, return whether all holds."""
    causes: dict[str, Callable[[Path], Coroutine[Any, Any, list[Check]]]] = {
        "a locked store": lambda folder: faults.locked_store(folder, hold_s=30, patience_ms=5_000),
        "a full disk": faults.full_disk,
        "a full file system": faults.full_file_system,
        "a held interpreter": lambda folder: faults.held_interpreter(folder, hold_s=30, ping_s=5, misses=3),
        "a clock that is set": faults.clock_jumps,
        "10,000 sessions": lambda folder: faults.many_sessions(folder, count=10_000),
    }
    checks: list[Check] = []
    for name, cause in causes.items():
        console.print(f"[dim]faults of the machine: {name} …[/]")
        with tempfile.TemporaryDirectory(prefix="dspex-soak-") as folder:
            checks += asyncio.run(cause(Path(folder)))
    console.print(checks_table(checks, "Faults of the machine"))
    for failure in failures(checks):
        console.print(f"[red]does not hold:[/] {escape(failure)}", highlight=False)
    return not failures(checks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    options, with_faults = read(arguments)
    report = run(options, console)
    show(report, console)
    met = run_faults(console) if with_faults else True
    return 0 if report.ok and met else 1


if __name__ == "__main__":
    sys.exit(main())
