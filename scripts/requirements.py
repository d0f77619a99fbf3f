"""The manifest of requirements: read it, find the tests that cite it, say what is wrong, print it as a table."""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATUSES = ("planned", "partial", "done")

# The ids that there are: how many numbers each family counts from 1, and those outside such a count.
FAMILIES = {
    **{f"FR{chapter}.": 4 for chapter in ("1.1", "1.2", "1.3", "2.1", "2.2", "2.3", "3.1", "3.2", "4.1", "4.2")},
    **{f"NFR{chapter}.": 4 for chapter in ("1.1", "1.2", "2.1", "2.2", "3.1", "3.2", "4.1", "4.2", "5.1", "5.2")},
    "EX-": 13,
    "RT-": 2,
    "PR-": 11,
    "GR-H": 26,
    "OWN-": 11,
}
OTHERS = ("TC1", "TC4", "BC2", "BC3", "BC4", "GR-X", "QS-1")
EXPECTED = frozenset([f"{family}{n}" for family, count in FAMILIES.items() for n in range(1, count + 1)]) | set(OTHERS)

_ELIXIR_TAG = re.compile(r"@(?:tag|moduletag|describetag)\s+req:\s*(\"[^\"]*\"|\[[^\]]*\]|~w\([^)]*\))")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One `[[requirement]]` table; `left` says what a partial one lacks."""

    id: str
    text: str
    status: str
    left: str = ""


def read_manifest(path: Path) -> list[Requirement]:
    """Return the requirements of the file in its order; an unknown member of a table raises TypeError."""
    return [Requirement(**row) for row in tomllib.loads(path.read_text("utf-8"))["requirement"]]


def cited(tests: Path) -> dict[str, set[str]]:
    """Return, for each id that a test under `tests` cites, the files that cite it."""
    found: dict[str, set[str]] = {}
    for path in sorted([*tests.rglob("test_*.py"), *tests.rglob("*_test.exs")]):
        text = path.read_text("utf-8")
        for identifier in _python_ids(text) if path.suffix == ".py" else _elixir_ids(text):
            found.setdefault(identifier, set()).add(str(path.relative_to(tests)))
    return found


def problems(requirements: Iterable[Requirement], citations: dict[str, set[str]]) -> list[str]:
    """Return what is wrong with the manifest or the tests' citations, one line each; nothing when all is well."""
    return list(_problems(list(requirements), citations))


def _problems(requirements: list[Requirement], citations: dict[str, set[str]]) -> Iterator[str]:
    counts = Counter(requirement.id for requirement in requirements)
    yield from (f"{name} is missing from the manifest" for name in sorted(EXPECTED - counts.keys()))
    yield from (f"{name} is not an id of the project" for name in sorted(counts.keys() - EXPECTED))
    yield from (f"{name} stands {count} times in the manifest" for name, count in counts.items() if count > 1)
    for name in sorted(citations.keys() - EXPECTED):
        yield f"{name} is cited by {', '.join(sorted(citations[name]))} but is not an id of the project"
    for row in requirements:
        if row.status not in STATUSES:
            yield f"{row.id} has the status {row.status!r}; there are {', '.join(STATUSES)}"
        if row.status == "partial" and not row.left.strip():
            yield f"{row.id} is partial and does not say in `left` what it lacks"
        if row.status == "done" and row.left:
            yield f"{row.id} is done and yet something is left: {row.left}"
        if row.status != "planned" and row.id not in citations:
            yield f"{row.id} is {row.status} and no test cites it"


def _python_ids(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.req":
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def _elixir_ids(text: str) -> Iterator[str]:
    for value in _ELIXIR_TAG.findall(text):
        yield from value[3:-1].split() if value.startswith("~w") else re.findall(r'"([^"]+)"', value)


def _print(requirements: list[Requirement], citations: dict[str, set[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title in ("id", "status", "tests", "what must work"):
        table.add_column(title, justify="right" if title == "tests" else "left", overflow="fold")
    colours = {"planned": "dim", "partial": "yellow", "done": "green"}
    for row in requirements:
        text = f"{row.text}\n[yellow]left: {row.left}[/]" if row.left else row.text
        status = f"[{colours[row.status]}]{row.status}[/]"
        table.add_row(row.id, status, str(len(citations.get(row.id, ()))), text)
    console = Console()
    console.print(table)
    counts = Counter(row.status for row in requirements)
    console.print(f"{len(requirements)} requirements: " + ", ".join(f"{counts[name]} {name}" for name in STATUSES))


def main() -> int:
    """Print the table and what is wrong; the exit status is 1 when something is."""
    requirements, citations = read_manifest(ROOT / "tests" / "requirements.toml"), cited(ROOT / "tests")
    _print(requirements, citations)
    wrong = problems(requirements, citations)
    for line in wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
