"""What the services may ask of the engine's LMs, evaluation and optimisers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from python_bridge.engine.interface import CallContext, CallOptions, MetricChoice, Progress
from python_bridge.engine.learning.bootstrap import bootstrap_few_shot, without_demos
from python_bridge.engine.learning.evaluation import Example, evaluate
from python_bridge.engine.learning.metrics import Metric, client_metric, named_metric
from python_bridge.engine.lms.probe import probe
from python_bridge.engine.state import dump_state
from python_bridge.errors import BridgeError

if TYPE_CHECKING:
    from python_bridge.engine.engine import DSPyEngine


class Learner:
    """See `Learning` in `python_bridge.engine.interface`."""

    def __init__(self, engine: "DSPyEngine") -> None:
        self._engine = engine

    def lms(self) -> list[dict[str, Any]]:
        """Return the LMs of the settings; see `Learning`."""
        return self._engine.runner.lms.describe()

    async def test_lm(self, name: str | None, context: CallContext) -> dict[str, Any]:
        """Ask an LM for one word; see `Learning`."""
        return await probe(self._engine.runner.lms, name, context)

    def dump(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """Return the program with its state; see `Learning`."""
        module = self._engine.compile(program).built.make()
        return {**without_demos(program), "state": dump_state(module)}

    async def evaluate(
        self,
        program: Mapping[str, Any],
        examples: list[Any],
        metric: MetricChoice,
        *,
        concurrency: int,
        options: CallOptions,
        context: CallContext,
        progress: Progress | None,
    ) -> dict[str, Any]:
        """Score the program over examples; see `Learning`."""
        read = _examples(examples, "examples")
        score = _metric(metric, context)
        compiled = self._engine.compile(program)
        return await evaluate(
            compiled, read, score, concurrency=concurrency, options=options, context=context, progress=progress
        )

    async def bootstrap_few_shot(
        self,
        program: Mapping[str, Any],
        trainset: list[Any],
        metric: MetricChoice,
        *,
        max_bootstrapped_demos: int,
        max_labeled_demos: int,
        threshold: float,
        options: CallOptions,
        context: CallContext,
        progress: Progress | None,
    ) -> dict[str, Any]:
        """Give the program demos of its own making; see `Learning`."""
        outcome = await bootstrap_few_shot(
            self._engine,
            program,
            _examples(trainset, "trainset"),
            _metric(metric, context),
            max_bootstrapped_demos=max_bootstrapped_demos,
            max_labeled_demos=max_labeled_demos,
            threshold=threshold,
            options=options,
            context=context,
            progress=progress,
        )
        return outcome.to_map()


def _examples(items: list[Any], member: str) -> list[Example]:
    if not items:
        raise BridgeError("invalid_input", f"`{member}` is empty; give at least one example")
    return [Example.from_map(item, index, member) for index, item in enumerate(items)]


def _metric(choice: MetricChoice, context: CallContext) -> Metric:
    if not choice.is_tool:
        return named_metric(choice.name)
    if context.call_tool is None:
        text = f"the metric is the tool `{choice.name}`, and this client answers no tool/call; name a metric"
        raise BridgeError("invalid_request", text)
    return client_metric(choice.name, context.call_tool, context.request_id, choice.timeout)


__all__ = ["Learner"]
