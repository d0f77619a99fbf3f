"""The contract of `tests/vectors/corpora/metrics.json`: what DSPy's own metrics give, which Elixir repeats."""

import contextlib
import io
from types import SimpleNamespace
from typing import Any

import dspy
from dspy.dsp.utils import DPR_normalize, strip_accents
from dspy.evaluate import auto_evaluation, metrics

_OF_TEXT = {"DPR_normalize": DPR_normalize, "strip_accents": strip_accents, "auto_f1": auto_evaluation.f1_score}
_OF_EXAMPLES = ("answer_exact_match", "answer_passage_match")


def _run(case: dict[str, Any]) -> Any:
    name = case["fn"]
    if name in _OF_EXAMPLES:
        options = {"frac": case["frac"]} if "frac" in case else {}
        example, prediction = SimpleNamespace(**case["example"]), SimpleNamespace(**case["pred"])
        return getattr(metrics, name)(example, prediction, **options)
    if name == "majority":
        return dspy.majority([{"answer": answer} for answer in case["args"][0]], field="answer")
    if name == "Evaluate":
        return _evaluated(case["args"][0])
    return (_OF_TEXT.get(name) or getattr(metrics, name))(*case["args"])


def _evaluated(scores: list[Any]) -> float:
    """Score one example a score; ``None`` stands for a metric that raises."""

    def metric(example: Any, _prediction: Any, _trace: Any = None) -> Any:
        if example.score is None:
            raise ValueError("scripted")
        return example.score

    examples = [dspy.Example(score=score).with_inputs("score") for score in scores]
    evaluate = dspy.Evaluate(devset=examples, metric=metric, num_threads=1, max_errors=len(scores) + 1)
    return evaluate(_Nothing()).score


class _Nothing(dspy.Module):
    def forward(self, score: Any) -> Any:
        return dspy.Prediction(score=score)


def check_metric(case: dict[str, Any]) -> str | None:
    """Return what is wrong with one case, or ``None``; judged metrics (`script`) are Elixir's arithmetic alone."""
    if "script" in case or "scripts" in case:
        return None
    expected = case["expected"]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            value = _run(case)
    except (TypeError, ValueError, AttributeError) as error:
        return f"raised {error!r}, expected {expected}" if expected["ok"] else None
    if not expected["ok"]:
        return f"gave {value!r}, though it must raise"
    if isinstance(value, dspy.Prediction):
        value = dict(value.items())
    same = abs(value - expected["value"]) <= 1e-12 if isinstance(value, float) else value == expected["value"]
    return None if same else f"gave {value!r}, expected {expected['value']!r}"
