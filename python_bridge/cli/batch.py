"""`python-bridge batch`: a program for every line of a file."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from python_bridge.cli.ending import EXIT_FAILED, EXIT_INTERRUPTED, fail, printable
from python_bridge.cli.execute import Config, Lm, Program, Programs, Timeout, executor_of, program_of, typed
from python_bridge.cli.items import ItemsError, read_items
from python_bridge.cli.results import Results, digest
from python_bridge.errors import BridgeError

_WIDE = 72


def batch(
    program: Program,
    source: Annotated[
        Path,
        typer.Argument(
            help="Inputs: .jsonl (an object a line), .csv (names in the first line), .arrow or .feather; "
            "- is JSON lines on the standard input."
        ),
    ],
    target: Annotated[
        Path, typer.Argument(help="Results, a JSON object a line, in the order in which they came; - is stdout.")
    ],
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what TARGET has answered already.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Items at work at a time.")] = 16,
    timeout: Timeout = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
    lm: Lm = None,
    config: Config = None,
    programs: Programs = Path("programs"),
) -> None:
    """Run a program for every line of a file.

    python-bridge batch "question -> answer" questions.jsonl answers.jsonl --workers 32

    Ctrl-C or a kill keeps what is done: the same command with --resume goes on, with the same program and inputs
    (more may follow them). A second Ctrl-C leaves what is at work. Failed items are written with their errors, and
    tried again by --resume.

    Exit status: 0, 1 when an item failed or TARGET could not be written, 2 for wrong arguments, 130 when it was
    interrupted.
    """
    document = program_of(program, programs)
    with executor_of(lm, config, programs, timeout) as executor:
        _check(executor, document, program)
        try:
            items = list(read_items(source))
        except ItemsError as error:
            fail(str(error))
        results = Results(target, source, resume, digest(document))
        try:
            done = results.answered(items)
            _try(executor, document, program, [item for index, item in enumerate(items) if index not in done][:1])
            left = [(index, inputs) for index, inputs in enumerate(items) if index not in done]
            run_all = Batch(executor, document, left, workers, results, len(items), texts=source.suffix == ".csv")
            counts = run_all.run()
        finally:
            results.close()
    summary = {"total": len(items), "skipped": len(done), **counts, "cost": round(run_all.cost, 6)}
    told = json.dumps(summary) if as_json else ", ".join(f"{name} {count}" for name, count in summary.items())
    typer.echo(told, err=str(target) == "-")
    run_all.end(target)


class Batch:
    """Items of a file on their way; each result is written when it comes."""

    def __init__(
        self,
        executor: Any,
        program: Any,
        items: list[tuple[int, Any]],
        workers: int,
        results: Results,
        total: int,
        texts: bool = False,
    ) -> None:
        self._executor = executor
        self._program = program
        self._items = items
        self._workers = workers
        self._results = results
        self._total = total
        self._texts = texts
        self._counts = {"successful": 0, "failed": 0}
        self._cost = 0.0
        self._started = time.monotonic()
        self._signals = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._first_failure = ""
        self._broken: OSError | None = None

    def run(self) -> dict[str, int]:
        """Run all; SIGINT and SIGTERM finish what is at work and start nothing new, a second one leaves it."""
        console = Console(stderr=True)
        counts = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        columns: tuple[ProgressColumn, ...] = (*counts, TimeRemainingColumn())
        if console.width >= _WIDE:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                *counts,
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("batch", total=self._total, completed=self._total - len(self._items), rate="")
            asyncio.run(self._run(lambda: progress.update(task, advance=1, rate=self._rate())))
        return self._counts

    def end(self, target: Path) -> None:
        """End the command with the status that fits.

        Raises:
            CommandError, typer.Exit: not everything was done.
        """
        if self._broken is not None:
            goes_on = "; what is there is whole, --resume goes on" if target.is_file() else ""
            fail(f"{target} cannot be written: {self._broken.strerror}{goes_on}", EXIT_FAILED)
        if self._signals and sum(self._counts.values()) < len(self._items):
            raise typer.Exit(EXIT_INTERRUPTED)
        if self._counts["failed"]:
            typer.echo(printable(f"the first that failed: {self._first_failure}"), err=True)
            raise typer.Exit(EXIT_FAILED)

    @property
    def cost(self) -> float:
        """US dollars so far, as far as they are known."""
        return self._cost

    async def _run(self, advance: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._interrupt)
        waiting = iter(self._items)
        count = min(self._workers, max(1, len(self._items)))
        self._tasks = [asyncio.create_task(self._work(waiting, advance)) for _ in range(count)]
        await asyncio.gather(*self._tasks, return_exceptions=False) if not self._signals else None

    async def _work(self, waiting: Any, advance: Callable[[], None]) -> None:
        try:
            for index, inputs in waiting:
                if self._signals or self._broken is not None:
                    return
                await self._one(index, inputs)
                advance()
        except asyncio.CancelledError:
            if self._signals < 2:
                raise
        except OSError as error:
            self._broken = error

    async def _one(self, index: int, inputs: Any) -> None:
        given = typed(self._executor, self._program, inputs) if self._texts else inputs
        result = await self._executor.aexecute(self._program, inputs=given)
        self._results.write(index, inputs, json.loads(result.to_json()))
        self._counts["successful" if result.success else "failed"] += 1
        if not result.success and not self._first_failure:
            self._first_failure = f"item {index}: {result.error}"
        self._cost += result.metadata.get("cost") or 0.0

    def _rate(self) -> str:
        done = sum(self._counts.values())
        rate = done / max(time.monotonic() - self._started, 1e-6)
        return f"{rate:.1f}/s, {self._counts['failed']} failed, ${self._cost:.4f}"

    def _interrupt(self) -> None:
        self._signals += 1
        if self._signals == 1:
            typer.echo("finishing what is at work; once more leaves it", err=True)
        elif self._signals == 2:
            for task in self._tasks:
                task.cancel()
        else:  # work that ignores being cancelled; every result so far is on disk
            os._exit(EXIT_INTERRUPTED)


def _check(executor: Any, document: Any, program: str) -> None:
    """End the command when the program cannot run at all: not one item could."""
    try:
        executor.check(document, inputs={})
    except BridgeError as error:
        if error.kind != "invalid_input":
            fail(f"{program}: {error.message}")


def _try(executor: Any, document: Any, program: str, first: list[Any]) -> None:
    """End the command when there is no LM to ask: not one item could be answered."""
    for inputs in first:
        result = executor.execute(document, inputs=typed(executor, document, inputs), mode="dry_run")
        if not result.success and result.metadata["error_kind"] != "invalid_input":
            fail(f"{program}: {result.error}")


__all__ = ["Batch", "batch"]
