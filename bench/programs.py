"""The programs that measure, and how to run them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PYTHON = str(ROOT / ".venv" / "bin" / "python")


@dataclass(frozen=True, slots=True)
class Program:
    """A command that prints one report (a JSON object) a line; `full` ones run only in the full set.

    Attributes:
        ids: the rows that it measures: ids of goals, or short names where there is none.
        timeout: seconds.
    """

    ids: tuple[str, ...]
    command: tuple[str, ...]
    full: bool = False
    timeout: float = 180.0


def elixir(script: str, *ids: str, full: bool = False, arguments: Sequence[str] = ()) -> Program:
    """Return the program for `bench/elixir/SCRIPT`."""
    return Program(ids, ("mix", "run", f"bench/elixir/{script}", *arguments), full)


PROGRAMS = (
    elixir("ping.exs", "P1", "P2"),
    elixir("predict.exs", "predict"),
    elixir("native.exs", "P11"),
    elixir("paths.exs", "P3", "P13", "pipeline"),
    elixir("throughput.exs", "P4", "P5"),
    elixir("served.exs", "P4"),
    elixir("scaling.exs", "scaling"),
    elixir("stream.exs", "P7"),
    elixir("recovery.exs", "P9"),
    elixir("large.exs", "P10"),
    elixir("attachments.exs", "attach"),
    elixir("memory.exs", "P14"),
    elixir("memory.exs", "P14", full=True, arguments=("full",)),
    Program(("P8",), (PYTHON, "bench/fork.py")),
    Program(("start",), (PYTHON, "bench/start.py")),
    Program(("P15",), (PYTHON, "-m", "bench.grpc_calls")),
    Program(("P9",), (PYTHON, "bench/durability.py")),
    Program(("P16",), (PYTHON, "bench/sessions.py"), timeout=600.0),
    Program(("rest",), (PYTHON, "bench/rest.py")),
    Program(("rest",), (PYTHON, "bench/rest.py", "mlflow"), full=True, timeout=400.0),
    Program(("rest",), (PYTHON, "bench/rest.py", "workers"), full=True, timeout=600.0),
    Program(("P3", "P6", "P12", "batch"), (PYTHON, "-m", "bench.executor"), timeout=600.0),
)


def chosen(only: Sequence[str], full: bool, programs: Sequence[Program] = PROGRAMS) -> list[Program]:
    """Return the programs that measure any of the rows `only` (all of the set when empty)."""
    wanted = {name.lower() for name in only}
    if wanted:
        return [program for program in programs if wanted & {name.lower() for name in program.ids}]
    return [program for program in programs if full or not program.full]


def run(program: Program) -> Iterator[dict[str, Any]]:
    """Run the program and give its reports as they come; lines that are no JSON object are passed on to stderr.

    Raises:
        RuntimeError: the program ended with another status than 0.
    """
    env = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", "MIX_ENV": "prod"}
    with subprocess.Popen(
        program.command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)
            else:
                sys.stderr.write(line)
        status = process.wait(program.timeout)
    if status:
        raise RuntimeError(f"{' '.join(program.command)} ended with status {status}")
