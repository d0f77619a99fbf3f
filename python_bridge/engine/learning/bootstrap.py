"""BootstrapFewShot: a program's own good answers become its demos. The result is a program as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from python_bridge.engine.compiled import Compiled
from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions, Progress
from python_bridge.engine.learning.evaluation import Example
from python_bridge.engine.learning.metrics import Metric
from python_bridge.engine.outputs import to_plain
from python_bridge.engine.scope import Usage
from python_bridge.errors import BridgeError


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """A program with demos of its own making, and how many examples were tried, good, and failed with an error."""

    program: dict[str, Any]
    tried: int
    bootstrapped: int
    failed: int

    def to_map(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            "program": self.program,
            "tried": self.tried,
            "bootstrapped": self.bootstrapped,
            "failed": self.failed,
        }


async def bootstrap_few_shot(
    engine: DSPyEngine,
    program: Mapping[str, Any],
    examples: Sequence[Example],
    metric: Metric,
    *,
    max_bootstrapped_demos: int = 4,
    max_labeled_demos: int = 16,
    threshold: float = 1.0,
    options: CallOptions | None = None,
    context: CallContext | None = None,
    progress: Progress | None = None,
) -> Bootstrapped:
    """Run examples until enough of them score at least `threshold`; give the program its new `state`.

    As DSPy's `BootstrapFewShot` does it: for each good run, what every predictor took and gave becomes a demo of that
    predictor; examples that were not needed follow as labelled demos, where they fit a predictor. LMs, keys and traces
    never get into the result.

    Raises:
        BridgeError: what `engine.compile` raises. An example whose call or metric fails is passed over; where all of
            them fail, the last error is raised.
    """
    teacher = engine.compile(without_demos(program))
    base = context or CallContext("bootstrap")
    demos: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in teacher.built.make().named_predictors()}
    used: set[int] = set()
    errors: list[BridgeError] = []
    tried = 0
    for index, example in enumerate(examples):
        if len(used) >= max_bootstrapped_demos:
            break
        try:
            steps = await _good_run(teacher, example, metric, threshold, options or CallOptions(), base)
        except BridgeError as error:
            steps = None
            errors.append(error)
        tried += 1
        if steps is not None:
            used.add(index)
            for name, demo in steps.items():
                demos[name].append(demo)
        if progress is not None:
            await progress(tried, len(examples), len(used) / tried)
    if errors and len(errors) == tried:
        raise errors[-1]
    rest = [example for index, example in enumerate(examples) if index not in used]
    better = _with_demos(program, teacher, demos, rest, max_labeled_demos)
    return Bootstrapped(better, tried, len(used), len(errors))


class _Traced:
    """Instruments of one call that keep DSPy's trace of it."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.trace: list[Any] = []

    def settings(self) -> dict[str, Any]:
        """Return what DSPy's settings get."""
        return {"trace": self.trace}


def without_demos(program: Mapping[str, Any]) -> dict[str, Any]:
    """Return the program without `demos`; those of `knn` are examples to choose from, and stay."""
    return {key: value for key, value in program.items() if key != "demos" or program["kind"] == "knn"}


async def _good_run(
    teacher: Compiled, example: Example, metric: Metric, threshold: float, options: CallOptions, base: CallContext
) -> dict[str, dict[str, Any]] | None:
    """Return a demo for each predictor that ran, or ``None`` when the answer was not good enough."""
    traced = _Traced()
    context = replace(base, emit=None, instruments=traced)
    result = await teacher.call(dict(example.inputs), options, context)
    if await metric(example.inputs, example.outputs, result.outputs) < threshold:
        return None
    names = {id(predictor): name for name, predictor in teacher.built.make().named_predictors()}
    steps: dict[str, dict[str, Any]] = {}
    for predictor, inputs, prediction in traced.trace:
        if (name := names.get(id(predictor))) is not None:
            # Of several runs of one predictor, the last one led to the answer.
            steps[name] = {"augmented": True, **to_plain(dict(inputs)), **to_plain(dict(prediction.items()))}
    return steps


def _with_demos(
    program: Mapping[str, Any],
    teacher: Compiled,
    demos: dict[str, list[dict[str, Any]]],
    rest: Sequence[Example],
    max_labeled: int,
) -> dict[str, Any]:
    state = {name: dict(learned) for name, learned in (program.get("state") or {}).items()}
    for name, predictor in teacher.built.make().named_predictors():
        signature: Any = predictor.signature
        labelled = [to_plain({**example.inputs, **example.outputs}) for example in rest]
        fitting = [demo for demo in labelled if set(demo) <= set(signature.fields)]
        room = max(0, max_labeled - len(demos[name]))
        state[name] = {**state.get(name, {}), "demos": demos[name] + fitting[:room]}
    return {**without_demos(program), "state": state}


__all__ = ["Bootstrapped", "bootstrap_few_shot", "without_demos"]
