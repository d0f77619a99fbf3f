"""The last step: the engine runs the program once."""

from dataclasses import replace
from typing import Any, Protocol

from python_bridge.engine.interface import CallContext, CallResult, Spending
from python_bridge.services.executor.execution import Execution
from python_bridge.services.executor.model import ExecutionMode


class MakesInstruments(Protocol):
    """Gives meters for one attempt."""

    def instruments(self, *, record: bool, max_lm_calls: int | None, max_tokens: int | None) -> Any: ...


class EngineStep:
    """Runs the target. Instruments are made where something is to be metered or recorded, and not otherwise."""

    def __init__(self, makes: MakesInstruments) -> None:
        self._makes = makes

    async def __call__(self, execution: Execution) -> CallResult:
        limits = execution.limits
        record = execution.record_steps or execution.mode is ExecutionMode.DEBUG
        metered = record or limits.max_lm_calls is not None or limits.max_tokens is not None
        if metered and execution.instruments is None:
            execution.instruments = self._makes.instruments(
                record=record, max_lm_calls=limits.max_lm_calls, max_tokens=limits.max_tokens
            )
        instruments, context = execution.instruments, execution.context
        if context is None:
            execution.spending = Spending()
            context = CallContext(
                execution.id,
                execution.emit,
                tenant=execution.tenant,
                instruments=instruments,
                spending=execution.spending,
                leave_out=execution.leave_out,
            )
        elif instruments is not None:
            context = replace(context, instruments=instruments)
        return await execution.target.call(execution.inputs, execution.options, context, execution.identity)


__all__ = ["EngineStep"]
