"""One execution on its way through the steps."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from python_bridge.engine.interface import CallContext, CallOptions, CallResult, EventSink, Spending
from python_bridge.engine.targets.interface import Identity, Target
from python_bridge.services.executor.model import ExecutionMode

if TYPE_CHECKING:
    from python_bridge.services.executor.keys import Key


@dataclass(frozen=True, slots=True)
class ExecutionLimits:
    """What one execution may spend; ``None`` is no limit.

    Attributes:
        max_lm_calls: requests to LMs.
        max_tokens: prompt and completion tokens together.
        max_memory_bytes: growth of the process's resident memory meanwhile, whichever execution it is that grows.
        max_cpu_seconds: processor time of the execution itself; see `limits.enforce`.
    """

    max_lm_calls: int | None = None
    max_tokens: int | None = None
    max_memory_bytes: int | None = None
    max_cpu_seconds: float | None = None


@dataclass(slots=True)
class Execution:
    """What the steps work on.

    Attributes:
        inputs: the caller's until `validate` has put a checked copy in their place.
        timeout: seconds for all of it.
        checked: whether the inputs were validated already.
        key: key of the result cache, once it is known.
        notes: becomes the result's metadata.
        instruments: meters and step recorder, the same for all attempts.
        emit: takes the events of a stream.
        context: of a call that came to a worker; the rest of the way in which it is told of goes by it.
        retries: attempts after the first one; ``None`` leaves it to the step.
        spending: of the attempt at work, or of the last one.
        leave_out: see `CallContext`.
    """

    id: str
    target: Target
    inputs: Mapping[str, Any]
    options: CallOptions
    mode: ExecutionMode = ExecutionMode.NORMAL
    timeout: float | None = None
    tenant: str | None = None
    use_cache: bool = True
    limits: ExecutionLimits = field(default_factory=ExecutionLimits)
    fallback: tuple[Any, ...] = ()
    record_steps: bool = False
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    instruments: Any = None
    checked: bool = False
    key: "Key | None" = None
    identity: Identity | None = None

    def identify(self) -> Identity:
        """Return what the answer depends on beside the inputs; looked up once."""
        if self.identity is None:
            self.identity = self.target.identity(self.options)
        return self.identity

    emit: EventSink | None = None
    context: CallContext | None = None
    retries: int | None = None
    spending: Spending | None = None
    leave_out: Callable[[Any], bool] | None = None


Next = Callable[[Execution], Awaitable[CallResult]]


class Step(Protocol):
    """Does its part and calls the rest of the way, `proceed`. Raises errors of the closed set."""

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult: ...


def compose(steps: list[Step], last: Next) -> Next:
    """Return the one way through `steps`, in their order, to `last`."""
    way = last
    for step in reversed(steps):
        way = _bound(step, way)
    return way


def _bound(step: Step, rest: Next) -> Next:
    def run(execution: Execution) -> Awaitable[CallResult]:
        return step(execution, rest)

    return run


__all__ = ["Execution", "ExecutionLimits", "Next", "Step", "compose"]
