"""The signature corpus, run by the same command that anybody can run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT / "tests/vectors/corpora/signatures.json"
RUNNER = ROOT / "tests/conformance/run.py"


def run(path: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), "signatures", str(path), *extra]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.req("OWN-7", "OWN-9", "FR1.2.3")
@pytest.mark.parametrize("corpus", [CORPUS, CORPUS.with_name("signatures_more.json")], ids=lambda path: path.stem)
def test_every_case_of_the_corpus_holds(corpus: Path) -> None:
    done = run(corpus, "--show", "5")
    count = len(json.loads(corpus.read_text("utf-8"))["cases"])
    assert done.stdout.splitlines()[-1] == f"{count} passed, 0 failed", done.stdout + done.stderr
    assert done.returncode == 0


def test_a_case_that_does_not_hold_is_counted_shown_and_fails_the_command(tmp_path: Path) -> None:
    corpus = json.loads(CORPUS.read_text("utf-8"))
    good, bad = (dict(case) for case in corpus["cases"][:2])
    bad["contract"] = "refuse"
    path = tmp_path / "corpus.json"
    path.write_text(json.dumps({**corpus, "cases": [good, bad]}))
    done = run(path, "--show", "1")
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed"
    assert bad["id"] in done.stdout
    assert done.returncode == 1
