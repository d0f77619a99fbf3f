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
Check = Callable[[Case], str | None]


def signatures(corpus: dict[str, Any]) -> Iterator[tuple[Case, str | None]]:
    """Give each case with what is wrong with it, or ``None``."""
    from signature_cases import check_signature

    for case in corpus["cases"]:
        yield case, check_signature(case, corpus["types"])


def formats(corpus: dict[str, Any]) -> Iterator[tuple[Case, str | None]]:
    """Run the format cases of an adapter corpus."""
    from adapter_cases import Corpus, check_format

    built = Corpus(corpus)
    for case in corpus["cases"]:
        if case["kind"] == "format":
            yield case, check_format(case, built)


RUNNERS = {"signatures": signatures, "formats": formats}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", choices=sorted(RUNNERS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N failures")
    options = parser.parse_args(arguments)
    results = list(RUNNERS[options.corpus](json.loads(options.file.read_text("utf-8"))))
    failures = [(case, problem) for case, problem in results if problem is not None]
    for case, problem in failures[: options.show]:
        print(f"{case['id']}: {case.get('signature')!r}\n    {problem}")
    print(f"{len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
