"""`make bench`: run the measuring programs, print a table, append to `results.jsonl`, compare with `ratios.json`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.programs import Program, chosen, run
from bench.rows import Row, regression, row_from

HERE = Path(__file__).resolve().parent
RATIOS = HERE / "ratios.json"
RESULTS = HERE / "results.jsonl"


def measure(programs: Sequence[Program], console: Console, results: Path) -> list[Row]:
    """Run the programs one after the other; append each row to the file `results` as soon as it is known."""
    rows = []
    for program in programs:
        console.print(f"[dim]measuring {', '.join(program.ids)} …[/]")
        for report in run(program):
            rows.append(row_from(report))
            with results.open("a", encoding="utf-8") as file:
                file.write(rows[-1].to_json() + "\n")
    return rows


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table."""
    made = Table(box=None, header_style="bold")
    for title in ("id", "name", "median", "min", "p99", "unit", "baseline", "ratio", "goal", "ok"):
        made.add_column(title, justify="left" if title in ("id", "name", "unit", "goal") else "right")
    for row in rows:
        verdict = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.ok]
        numbers = [f"{number:,.4g}" for number in (row.value, row.min, row.p99)]
        baseline, ratio = (f"{n:,.3g}" if n is not None else "" for n in (row.baseline, row.ratio))
        made.add_row(row.id, row.name, *numbers, row.unit, baseline, ratio, row.goal, verdict)
    return made


def commit(rows: Sequence[Row], path: Path) -> None:
    """Write the rows' ratios into the file that later runs are compared with; other rows' entries stay."""
    committed = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for row in rows:
        if row.ratio is not None:
            committed[row.key] = {"ratio": round(row.ratio, 4), "better": row.better}
    path.write_text(json.dumps(committed, indent=2, sort_keys=True) + "\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status is 1 when a ratio is a quarter worse than the committed one, 2 for an unknown row."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", default="", help="rows to measure: P1,P8")
    parser.add_argument("--full", action="store_true", help="the full set")
    parser.add_argument("--commit", action="store_true", help="write the ratios of this run to ratios.json")
    options = parser.parse_args(arguments)
    programs = chosen([name for name in options.only.split(",") if name], options.full)
    if not programs:
        print(f"no program measures {options.only}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = measure(programs, console, RESULTS)
    console.print(table(rows))
    if options.commit:
        commit(rows, RATIOS)
    committed = json.loads(RATIOS.read_text("utf-8")) if RATIOS.exists() else {}
    worse = [told for row in rows if (told := regression(row, committed))]
    for told in worse:
        console.print(f"[red]worse than committed:[/] {told}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
