"""What the services know of the engine. Nothing here imports dspy."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from python_bridge.engine.targets.interface import Target

EventSink = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes one stream event (`{"type": "token", …}`); returns when the client's credit let it go."""

ToolCaller = Callable[[str, dict[str, Any], str, float | None], Awaitable[Any]]
"""`await call_tool(tool, arguments, call_id, timeout_s)` → the client's value; raises ``tool_error``."""

Progress = Callable[[int, int, float], Awaitable[None]]
"""`await progress(done, total, score)`: examples that are done, all of them, and the mean score so far."""

Observe = Callable[[str, dict[str, Any], dict[str, Any]], None]
"""Takes the name of an event (``"lm.stop"``), measurements and metadata: plain data, no prompts, no answers."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How one call wants its program run; ``None`` leaves the program's, then the worker's choice.

    Attributes:
        lm: name of an LM in the worker's settings.
        adapter: ``"chat"``, ``"json"`` or ``"xml"``.
        config: allow-listed LM parameters.
    """

    lm: str | None = None
    adapter: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Tokens(Protocol):
    """Counts what one call of a program spends."""

    lm_calls: int
    cost: float | None

    def to_map(self) -> dict[str, Any]:
        """Return the usage of `proto/PROTOCOL.md`, section 8."""
        ...


class Spending:
    """What a call has spent so far, for whoever ends it: an error tells it as an answer does."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: Tokens | None = None

    def follow(self, tokens: Tokens) -> None:
        """The engine counts the call with these."""
        self._tokens = tokens

    def told(self) -> dict[str, Any]:
        """Return `usage` and `cost` as members of an error's details; none when no LM was paid."""
        tokens = self._tokens
        if tokens is None or not tokens.lm_calls:
            return {}
        return {"usage": tokens.to_map(), "cost": tokens.cost}


@dataclass(frozen=True, slots=True)
class CallContext:
    """Who calls, and the ways back to the caller.

    Attributes:
        request_id: unique within the worker.
        emit: set when the caller wants a stream.
        call_tool: set when the client answers `tool/call`.
        tenant: caches are kept apart by it.
        deadline: loop time (seconds) after which the work is stopped by the dispatcher; engines may pass it on.
        observe: set when somebody wants to know of the LM calls. Call it in the loop's thread.
        spending: set by who wants to know what the call spends even when it fails; the engine lets it follow.
        instruments: set when the call is to be metered or its steps recorded (`python_bridge.engine.instruments`).
        session: the session that the call came in.
        leave_out: says of one of DSPy's callbacks whether it would tell a second time what the caller records.
    """

    request_id: str
    emit: EventSink | None = None
    call_tool: ToolCaller | None = None
    tenant: str | None = None
    traceparent: str | None = None
    deadline: float | None = None
    observe: Observe | None = None
    instruments: Any = None
    session: str | None = None
    spending: Spending | None = None
    leave_out: Callable[[Any], bool] | None = None


@dataclass(slots=True)
class CallResult:
    """What a program gave. `usage` has the shape of `proto/PROTOCOL.md`, section 8.

    Attributes:
        tool_calls: how often tools of the client were called; such an answer is good once.
        notes: what the executor tells of it, for `meta`.
    """

    outputs: dict[str, Any]
    completions: list[dict[str, Any]] | None
    usage: dict[str, Any]
    cost: float | None
    model: str | None
    adapter: str
    cache: str = "off"
    tool_calls: int = 0
    notes: dict[str, Any] | None = None


class CompiledProgram(Protocol):
    """A program made ready to run: signature classes and the like are built once. Safe for concurrent calls."""

    @property
    def target(self) -> "Target":
        """The program as the executor sees it."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the description of `proto/PROTOCOL.md`, section 8."""
        ...

    async def call(self, inputs: dict[str, Any], options: CallOptions, context: CallContext) -> CallResult:
        """Run once. Inputs are checked against the signature first.

        Raises:
            BridgeError: `invalid_input`, `lm_error`, `tool_error`, `program_error`, `not_found` (LM name), …
            asyncio.CancelledError: the task was cancelled; LM calls under way are dropped at once.
        """
        ...


@dataclass(frozen=True, slots=True)
class MetricChoice:
    """What scores an answer: a named comparison, or a tool of the client.

    Attributes:
        name: of the comparison, or of the tool.
        is_tool: whether the client is asked.
        timeout: seconds that the tool may take; ``None``: until the deadline of the request.
    """

    name: str
    is_tool: bool = False
    timeout: float | None = None


class Learning(Protocol):
    """What an engine does beside running programs: it knows its LMs, and makes programs better."""

    def lms(self) -> list[dict[str, Any]]:
        """Return `{name, model, default, cache}` of each LM of the settings, by name."""
        ...

    async def test_lm(self, name: str | None, context: CallContext) -> dict[str, Any]:
        """Ask an LM (``None``: the default one) for one word: `{ok, lm, model, latency_ms, usage, cost}`.

        Raises:
            BridgeError: `not_found`, or the `lm_error` that the LM gave.
        """
        ...

    def dump(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """Return the program with the state of every predictor written out."""
        ...

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
        """Score the program over examples: the result of `program.evaluate`.

        Raises:
            BridgeError: `invalid_input` for examples or metrics that are none.
        """
        ...

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
        """Return `{program, tried, bootstrapped, failed}`: the program with demos of its own making.

        Raises:
            BridgeError: as `evaluate`; the last error where every example failed.
        """
        ...


class Engine(Protocol):
    """The one place that knows dspy."""

    @property
    def learning(self) -> Learning | None:
        """LMs, evaluation, optimisers; ``None`` where an engine has none of it."""
        ...

    @property
    def dspy_version(self) -> str: ...

    @property
    def abandoned_threads(self) -> int:
        """Threads of cancelled calls that still run."""
        ...

    @property
    def features(self) -> list[str]:
        """Features of `initialize`: ``"kind:predict"``, ``"stream"``, ``"tools"``, ``"adapter:xml"``, …"""
        ...

    def hash_program(self, program: Mapping[str, Any]) -> str:
        """Return the program's handle: sha256 of its canonical JSON, 64 hexadecimal digits.

        Raises:
            BridgeError: `invalid_request` when it is not of `proto/program.schema.json`'s shape.
        """
        ...

    def compile(self, program: Mapping[str, Any]) -> CompiledProgram:
        """Make the program ready to run.

        Raises:
            BridgeError: `invalid_request` (shape), `signature_error`, `invalid_input` (option), `not_found` (LM, tool).
        """
        ...

    async def warm_up(self) -> None:
        """Pay the first call's costs before the first caller does."""
        ...

    async def close(self) -> None:
        """Give back what the engine holds: HTTP connections, threads."""
        ...


__all__ = [
    "CallContext",
    "CallOptions",
    "CallResult",
    "CompiledProgram",
    "Engine",
    "EventSink",
    "Learning",
    "MetricChoice",
    "Observe",
    "Progress",
    "Spending",
    "ToolCaller",
]
