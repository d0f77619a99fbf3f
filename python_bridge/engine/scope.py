"""What belongs to one call while it runs, reachable from tools and LMs in its task and its threads."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from python_bridge.engine.interface import CallContext
from python_bridge.errors import BridgeError

if TYPE_CHECKING:
    from python_bridge.engine.streaming.sink import StreamSink

T = TypeVar("T")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class Usage:
    """Counts the tokens of one call. DSPy takes it as its usage tracker."""

    def __init__(self) -> None:
        self.lm_calls = 0
        self.cost: float | None = None
        self.tokens = dict.fromkeys(_COUNTS, 0)
        self.by_model: dict[str, dict[str, int]] = {}

    def admit(self) -> None:
        """See whether one more LM call may be made; LMs that stay on the loop ask before each request."""

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Count one LM call; DSPy calls this under this name."""
        self.lm_calls += 1
        self.add_tokens(lm, usage_entry)

    def add_tokens(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Count the tokens of a model, which may also be one of embeddings."""
        prompt = int(usage_entry.get("prompt_tokens") or 0)
        completion = int(usage_entry.get("completion_tokens") or 0)
        total = int(usage_entry.get("total_tokens") or prompt + completion)
        for row in (self.tokens, self.by_model.setdefault(lm, dict.fromkeys(_COUNTS, 0))):
            row["prompt_tokens"] += prompt
            row["completion_tokens"] += completion
            row["total_tokens"] += total

    def add_cost(self, cost: float | None) -> None:
        """Add US dollars; unknown costs leave the sum as it is."""
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def to_map(self) -> dict[str, Any]:
        """Return the usage of `proto/PROTOCOL.md`, section 8."""
        by_model = {name: dict(row) for name, row in self.by_model.items()}
        return {**self.tokens, "lm_calls": self.lm_calls, "by_model": by_model}


@dataclass(slots=True)
class CallScope:
    """One call of a program.

    Attributes:
        loop: the loop that the call came in on; threads run LM and tool calls there.
        cancelled: set when the call was given up, so that a thread that cannot be stopped ends at its next LM or
            tool call.
    """

    context: CallContext
    loop: asyncio.AbstractEventLoop
    usage: Usage = field(default_factory=Usage)
    stream: "StreamSink | None" = None
    cancelled: bool = False
    tool_calls: int = 0
    _pending: set[concurrent.futures.Future[Any]] = field(default_factory=set[concurrent.futures.Future[Any]])

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the call's loop from one of its threads, and wait for it there.

        Raises:
            BridgeError: `cancelled` when the call was given up, before or meanwhile.
        """
        if self.cancelled:
            coroutine.close()
            raise BridgeError("cancelled", "the call was cancelled while it ran in a thread")
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        self._pending.add(future)
        if self.cancelled:  # since it was looked at above
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise BridgeError("cancelled", "the call was cancelled while it ran in a thread") from None
        finally:
            self._pending.discard(future)

    def end(self) -> None:
        """The call is over: what its threads still wait for is cancelled."""
        self.cancelled = True
        for future in list(self._pending):
            future.cancel()


_current: ContextVar[CallScope] = ContextVar("python_bridge_call_scope")


def current_scope() -> CallScope | None:
    """Return the scope of the call that runs now, or ``None`` outside of calls."""
    return _current.get(None)


def enter_scope(scope: CallScope) -> Any:
    """Make `scope` the current one; give the result to `leave_scope`."""
    return _current.set(scope)


def leave_scope(token: Any) -> None:
    """Restore what was current before `enter_scope`."""
    _current.reset(token)


__all__ = ["CallScope", "Usage", "current_scope", "enter_scope", "leave_scope"]
