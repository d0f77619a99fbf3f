"""Operations on LMs, evaluation and optimisers (`proto/PROTOCOL.md`, section 15)."""

from collections.abc import Callable
from typing import Any, cast

from python_bridge.engine.interface import Engine, Learning, MetricChoice, Progress
from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import (
    BootstrapParams,
    EvaluateParams,
    LmTestParams,
    MetricParams,
    ModuleParams,
    Nothing,
    OptimizeParams,
)
from python_bridge.protocol.params import read_params
from python_bridge.services.call import Call
from python_bridge.services.dispatch import Operation
from python_bridge.services.operations import context_of, read_options
from python_bridge.services.programs import ProgramCache

MAX_CONCURRENCY = 256
_OPTIMIZERS = ("bootstrap_few_shot",)


class LearningOperations:
    """Handlers over an engine that comes later.

    Args:
        engine: gives the engine.
        programs: gives the worker's programs.
    """

    def __init__(self, engine: Callable[[], Engine], programs: Callable[[], ProgramCache]) -> None:
        self._engine = engine
        self._programs = programs

    def table(self) -> dict[str, Operation]:
        """Return the operations by method."""
        return {
            "lm.list": Operation(Nothing, self.list_lms),
            "lm.test": Operation(LmTestParams, self.test_lm),
            "module.dump": Operation(ModuleParams, self.dump),
            "program.evaluate": Operation(EvaluateParams, self.evaluate),
            "program.optimize": Operation(OptimizeParams, self.optimize),
        }

    @property
    def _learning(self) -> Learning:
        if (learning := self._engine().learning) is None:
            raise BridgeError("unavailable", "the engine of this worker cannot do that; use engine = dspy")
        return learning

    async def list_lms(self, call: Call, params: Nothing) -> dict[str, Any]:
        return {"lms": self._learning.lms()}

    async def test_lm(self, call: Call, params: LmTestParams) -> dict[str, Any]:
        return await self._learning.test_lm(params.lm, context_of(call))

    async def dump(self, call: Call, params: ModuleParams) -> dict[str, Any]:
        return {"program": self._learning.dump(self._programs().source(params.module))}

    async def evaluate(self, call: Call, params: EvaluateParams) -> dict[str, Any]:
        if not 1 <= params.concurrency <= MAX_CONCURRENCY:
            text = f"concurrency of program.evaluate is {params.concurrency}; it must be 1 to {MAX_CONCURRENCY}"
            raise BridgeError("invalid_input", text)
        return await self._learning.evaluate(
            self._programs().source(params.module),
            params.examples,
            read_metric(params.metric, call.request.method),
            concurrency=params.concurrency,
            options=read_options(params.options, call.request.method),
            context=context_of(call),
            progress=progress_of(call),
        )

    async def optimize(self, call: Call, params: OptimizeParams) -> dict[str, Any]:
        if params.optimizer not in _OPTIMIZERS:
            known = ", ".join(_OPTIMIZERS)
            raise BridgeError("invalid_input", f"no optimizer {params.optimizer[:80]!r}; known are {known}")
        config = read_params(BootstrapParams, params.config or {}, f"config of {params.optimizer}")
        if config.max_bootstrapped_demos < 0 or config.max_labeled_demos < 0:
            raise BridgeError("invalid_input", f"config of {params.optimizer}: numbers of demos must be 0 or more")
        outcome = await self._learning.bootstrap_few_shot(
            self._programs().source(params.module),
            params.trainset,
            read_metric(params.metric, call.request.method),
            max_bootstrapped_demos=config.max_bootstrapped_demos,
            max_labeled_demos=config.max_labeled_demos,
            threshold=config.threshold,
            options=read_options(params.options, call.request.method),
            context=context_of(call),
            progress=progress_of(call),
        )
        return {**outcome, "module": self._programs().create(outcome["program"])}


def read_metric(value: Any, method: str) -> MetricChoice:
    """Return the metric that a text names, or a map `{tool, timeout_ms?}`.

    Raises:
        BridgeError: `invalid_request` for anything else.
    """
    if isinstance(value, str):
        return MetricChoice(value)
    if not isinstance(value, dict):
        raise BridgeError("invalid_request", f"metric of {method} must be a name, or a map with `tool`")
    read = read_params(MetricParams, cast("dict[str, Any]", value), f"metric of {method}")
    return MetricChoice(read.tool, True, None if read.timeout_ms is None else read.timeout_ms / 1000)


def progress_of(call: Call) -> Progress | None:
    """Return what tells the caller how far the work is, where it streams."""
    if not call.request.meta.stream:
        return None

    async def progress(done: int, total: int, score: float) -> None:
        message = f"{done} of {total}, score {score:.3f}"
        await call.emit({"type": "status", "message": message, "done": done, "total": total, "score": score})

    return progress


__all__ = ["MAX_CONCURRENCY", "LearningOperations", "progress_of", "read_metric"]
