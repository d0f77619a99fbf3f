"""Step: what is done when a program has failed for good: another LM, another program, an old or a partial result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from python_bridge.engine.interface import CallResult
from python_bridge.engine.targets.interface import Target
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next
from python_bridge.services.executor.result_cache import ResultCache
from python_bridge.services.executor.validate import check

STALE = "stale"
PARTIAL = "partial"
_FINAL = frozenset({"invalid_input", "invalid_request", "signature_error", "cancelled", "limit_exceeded"})


@dataclass(frozen=True, slots=True)
class FallbackLM:
    """Run the same program on the LM of this name."""

    name: str


class Alternatives:
    """Runs the other LMs and programs of `Execution.fallback`, in their order.

    Args:
        resolve: makes a target of another program.
    """

    def __init__(self, resolve: Callable[[Any], Target]) -> None:
        self._resolve = resolve

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult:
        """
        Raises:
            BridgeError: that of the first attempt, when none of them works.
        """
        try:
            return await proceed(execution)
        except BridgeError as error:
            if error.kind in _FINAL or not execution.fallback:
                raise
            first = error
        for choice in execution.fallback:
            if choice in (STALE, PARTIAL):
                continue
            try:
                result = await proceed(self._other(execution, choice))
            except BridgeError as error:
                _note(execution, _name(choice), first, failed=error)
                continue
            _note(execution, _name(choice), first)
            return result
        raise first

    def _other(self, execution: Execution, choice: Any) -> Execution:
        if isinstance(choice, FallbackLM):
            return replace(execution, options=replace(execution.options, lm=choice.name), identity=None)
        other = replace(execution, target=self._resolve(choice), checked=False, identity=None)
        check(other)
        return other


def rescue(execution: Execution, error: BridgeError, cache: ResultCache | None) -> CallResult | None:
    """Return an old or a partial result in the place of `error`, where the caller wants one and there is one."""
    if error.kind in _FINAL:
        return None
    for choice in execution.fallback:
        found = None
        if choice == STALE and cache is not None and execution.key is not None:
            found = cache.stale(execution.key.digest)
        elif choice == PARTIAL:
            found = _partial(execution)
        if found is not None:
            _note(execution, choice, error)
            return found
    return None


def _partial(execution: Execution) -> CallResult | None:
    """Return the outputs of the modules that ended well before the failure."""
    if execution.instruments is None:
        return None
    steps: list[dict[str, Any]] = execution.instruments.steps
    outputs: dict[str, Any] = {}
    for step in steps:
        made: Any = step["outputs"]
        if step["kind"] == "module" and step["error"] is None and isinstance(made, Mapping):
            outputs.update(cast("Mapping[str, Any]", made))
    if not outputs:
        return None
    usage = execution.instruments.usage
    return CallResult(outputs, None, usage.to_map(), usage.cost, None, "", "off")


def _name(choice: Any) -> str:
    if isinstance(choice, FallbackLM):
        return f"lm:{choice.name}"
    return choice if isinstance(choice, str) else "program"


def _note(execution: Execution, used: str, error: BridgeError, failed: BridgeError | None = None) -> None:
    note: dict[str, Any] = execution.notes.setdefault("fallback", {"tried": []})
    note["error"], note["error_kind"] = error.message, error.kind
    note["tried"].append(used)
    if failed is None:
        note["used"] = used


__all__ = ["PARTIAL", "STALE", "Alternatives", "FallbackLM", "rescue"]
