"""Run a corpus file: `python tests/conformance/run.py signatures FILE [--show N]`.

The last line is `N passed, N failed`; the exit status is 1 when a case failed.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

Case = dict[str, Any]


def guarded(check: Callable[[Case, Any], str | None], case: Case, context: Any) -> str | None:
    """Return what is wrong with a case; a check that raises is a failure of its case, and the others go on."""
    try:
        return check(case, context)
    except Exception as exception:
        return f"raised {type(exception).__name__}: {exception}"


def signatures(corpus: dict[str, Any]) -> Iterator[tuple[Case, str | None]]:
    """Give each case with what is wrong with it, or ``None``."""
    from signature_cases import check_signature

    for case in corpus["cases"]:
        yield case, guarded(check_signature, case, corpus.get("types", {}))


def formats(corpus: dict[str, Any]) -> Iterator[tuple[Case, str | None]]:
    """Run the format cases of an adapter corpus."""
    from adapter_cases import Corpus, check_format

    built = Corpus(corpus)
    for case in corpus["cases"]:
        if case["kind"] == "format":
            yield case, guarded(check_format, case, built)


def metrics(corpus: dict[str, Any]) -> Iterator[tuple[Case, str | None]]:
    """Run the cases of a corpus of metrics."""
    from metric_cases import check_metric

    for case in corpus["cases"]:
        yield case, guarded(lambda case, _context: check_metric(case), case, None)


def read(file: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the corpus of a file; anything else ends the command with status 2."""
    try:
        corpus = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{file} cannot be read: {error}")
    if not isinstance(corpus, dict) or not isinstance(corpus.get("cases"), list):
        parser.error(f"{file} is no corpus: it has no list of cases")
    return corpus


RUNNERS = {"signatures": signatures, "formats": formats, "metrics": metrics}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", choices=sorted(RUNNERS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N failures")
    options = parser.parse_args(arguments)
    results = list(RUNNERS[options.corpus](read(options.file, parser)))
    failures = [(case, problem) for case, problem in results if problem is not None]
    for case, problem in failures[: options.show]:
        print(f"{case['id']}: {case.get('signature', case.get('fn'))!r}\n    {problem}")
    print(f"{len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
