"""The metrics' corpora, which Elixir's own metrics pass, hold for DSPy's as they are installed."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CHECK = runpy.run_path(str(ROOT / "tests/conformance/metric_cases.py"))["check_metric"]


@pytest.mark.req("FR3.2.3", "OWN-7")
@pytest.mark.parametrize("name", ["metrics", "metrics_more"])
def test_dspy_gives_what_the_corpus_of_metrics_says(name: str) -> None:
    cases = json.loads((ROOT / f"tests/vectors/corpora/{name}.json").read_text("utf-8"))["cases"]
    problems = {case["id"]: problem for case in cases if (problem := CHECK(case)) is not None}
    assert cases
    assert not problems
