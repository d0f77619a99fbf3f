"""`python-bridge run` and `python-bridge batch`: programs from the command line."""

import asyncio
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from python_bridge.cli.items import ItemsError, json_or_text, read_items
from python_bridge.errors import BridgeError
from python_bridge.settings import SettingsError, load_settings

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

Program = Annotated[str, typer.Argument(help="A program JSON file, an id in --programs, or a signature.")]
Lm = Annotated[str | None, typer.Option(help="Model for programs that name none (env: DSPEX_LM).")]
Config = Annotated[Path | None, typer.Option(help=r"TOML file with \[lms.NAME] tables (env: DSPEX_CONFIG).")]
Programs = Annotated[Path, typer.Option(help="Folder of program JSON files, <program_id>.json.")]
AsJson = Annotated[bool, typer.Option("--json", help="The whole result as JSON.")]


def run(
    program: Program,
    values: Annotated[
        list[str] | None, typer.Argument(help="Inputs as key=value; @FILE reads a file, JSON is read.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the answer as it comes.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print every step: prompts, completions, times.")] = False,
    as_json: AsJson = False,
    timeout: Annotated[float, typer.Option(help="Seconds.")] = 300.0,
    lm: Lm = None,
    config: Config = None,
    programs: Programs = Path("programs"),
) -> None:
    """Run a program once and print its outputs.

    python-bridge run "question -> answer" question="Why is the sky blue?" --lm openai/gpt-4o-mini

    Exit status: 0, 1 when the program failed, 2 for wrong arguments.
    """
    inputs = read_values(values or [])
    with _executor(lm, config, programs, timeout) as executor:
        options: dict[str, Any] = {"mode": "debug" if debug else "normal"}
        if stream and not as_json:
            options.update(emit=_print_token, use_cache=False)
        result = executor.execute(_program(program, programs), inputs=inputs, **options)
    if as_json:
        typer.echo(result.to_json())
    elif stream and result.success:
        typer.echo()
    elif result.success:
        _print_outputs(result.outputs)
    if debug and not as_json:
        from python_bridge.services.executor.debug import render

        typer.echo(render(result.metadata.get("debug_trace") or []))
    if not result.success:
        if not as_json:
            typer.echo(f"failed: {result.error}", err=True)
        raise typer.Exit(EXIT_FAILED)


def batch(
    program: Program,
    source: Annotated[
        Path,
        typer.Argument(help="Inputs: .jsonl (an object a line), .csv (names in the first line), .arrow or .feather."),
    ],
    target: Annotated[Path, typer.Argument(help="Results, a JSON object a line, in the order in which they came.")],
    resume: Annotated[bool, typer.Option("--resume", help="Leave out what TARGET has answered already.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Items at work at a time.")] = 16,
    timeout: Annotated[float, typer.Option(help="Seconds for one item.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
    lm: Lm = None,
    config: Config = None,
    programs: Programs = Path("programs"),
) -> None:
    """Run a program for every line of a file.

    Ctrl-C or a kill keeps what is done: the same command with --resume goes on. Failed items are written with their
    errors, and tried again by --resume.

    Exit status: 0, 1 when an item failed, 2 for wrong arguments, 130 when it was interrupted.
    """
    try:
        items = list(read_items(source))
    except ItemsError as error:
        _fail(str(error))
    done = answered(target) if resume else set[int]()
    if target.exists() and not resume:
        _fail(f"{target} exists; --resume goes on with it, or give another name")
    left = [(index, inputs) for index, inputs in enumerate(items) if index not in done]
    with _executor(lm, config, programs, timeout) as executor, target.open("a", encoding="utf-8") as out:
        run_all = Batch(executor, _program(program, programs), left, workers, out, len(items))
        counts = run_all.run()
    summary = {"total": len(items), "skipped": len(done), **counts, "cost": round(run_all.cost, 6)}
    typer.echo(json.dumps(summary) if as_json else ", ".join(f"{name} {count}" for name, count in summary.items()))
    if run_all.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if counts["failed"]:
        raise typer.Exit(EXIT_FAILED)


class Batch:
    """Items of a file on their way; each result is written when it comes."""

    def __init__(
        self, executor: Any, program: Any, items: list[tuple[int, Any]], workers: int, out: TextIO, total: int
    ) -> None:
        self._executor = executor
        self._program = program
        self._items = items
        self._workers = workers
        self._out = out
        self._total = total
        self._stop = threading.Event()
        self._counts = {"successful": 0, "failed": 0}
        self._cost = 0.0
        self._started = time.monotonic()
        self.interrupted = False

    def run(self) -> dict[str, int]:
        """Run all; SIGINT and SIGTERM finish what is at work and start nothing new."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._interrupt)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("batch", total=self._total, completed=self._total - len(self._items), rate="")
            asyncio.run(self._run(lambda: progress.update(task, advance=1, rate=self._rate())))
        return self._counts

    @property
    def cost(self) -> float:
        """US dollars so far, as far as they are known."""
        return self._cost

    async def _run(self, advance: Any) -> None:
        waiting = iter(self._items)

        async def work() -> None:
            for index, inputs in waiting:
                if self._stop.is_set():
                    self.interrupted = True
                    return
                self._write(index, await self._executor.aexecute(self._program, inputs=inputs))
                advance()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._workers, max(1, len(self._items)))):
                group.create_task(work())

    def _write(self, index: int, result: Any) -> None:
        self._counts["successful" if result.success else "failed"] += 1
        self._cost += result.metadata.get("cost") or 0.0
        self._out.write(json.dumps({"index": index, **json.loads(result.to_json())}, ensure_ascii=False) + "\n")
        self._out.flush()

    def _rate(self) -> str:
        done = sum(self._counts.values())
        rate = done / max(time.monotonic() - self._started, 1e-6)
        return f"{rate:.1f}/s, {self._counts['failed']} failed, ${self._cost:.4f}"

    def _interrupt(self, _signum: int, _frame: Any) -> None:
        self._stop.set()


def read_values(values: list[str]) -> dict[str, Any]:
    """Read `key=value` arguments: JSON where it is, else text; ``@file`` is the text of a file."""
    read: dict[str, Any] = {}
    for item in values:
        name, sign, text = item.partition("=")
        if not sign or not name.isidentifier():
            _fail(f"{item!r} is no input; write key=value")
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                _fail(f"{name}: {text[1:]} cannot be read: {error}")
            read[name] = text
        else:
            read[name] = json_or_text(text)
    return read


def answered(target: Path) -> set[int]:
    """Return the indexes that a file of results has successes for; half a last line, of a kill, is cut off."""
    done: set[int] = set()
    if not target.exists():
        return done
    content = target.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        target.write_bytes(whole)
    for line in whole.splitlines():
        entry = json.loads(line)
        if entry.get("success"):
            done.add(int(entry["index"]))
    return done


def _program(name: str, folder: Path) -> Any:
    """Return program JSON: of a file, of an id, or of a signature."""
    path = next((path for path in (Path(name), folder / f"{name}.json") if path.is_file()), None)
    if path is None and "->" not in name:
        _fail(f"{name!r} is no program file, no id in {folder}, and no signature (inputs -> outputs)")
    if path is None:
        return {"format": 1, "kind": "predict", "signature": name}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        _fail(f"{path} is no JSON: {error}")


def _executor(lm: str | None, config: Path | None, programs: Path, timeout: float) -> Any:
    from python_bridge.services.executor.executor import DSPyPipelineExecutor

    try:
        settings = load_settings({"lm": lm} if lm else None, config=config)
        return DSPyPipelineExecutor(mlflow_tracking=False, timeout=timeout, settings=settings)
    except (SettingsError, BridgeError) as error:
        _fail(str(error))


async def _print_token(event: dict[str, Any]) -> None:
    if event.get("type") == "token":
        sys.stdout.write(event["text"] + ("\n" if event.get("last") else ""))
        sys.stdout.flush()


def _print_outputs(outputs: dict[str, Any]) -> None:
    for name, value in outputs.items():
        typer.echo(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(EXIT_USAGE)


__all__ = ["Batch", "answered", "batch", "read_values", "run"]
