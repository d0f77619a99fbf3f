"""Meters and recorders of one call: what it may spend, and what it did step by step."""

from typing import Any

from dspy.utils.callback import ACTIVE_CALL_ID

from python_bridge.engine.scope import Usage
from python_bridge.engine.steps import StepRecorder
from python_bridge.errors import BridgeError


class MeteredUsage(Usage):
    """Counts tokens, and ends a call that spends too much.

    Args:
        max_lm_calls: LMs that stay on the loop make no request above it; others end with the first one above.
        max_tokens: prompt and completion tokens of all LM calls together.
        recorder: gets the tokens of each LM call.
    """

    def __init__(self, max_lm_calls: int | None, max_tokens: int | None, recorder: StepRecorder | None) -> None:
        super().__init__()
        self._max_lm_calls = max_lm_calls
        self._max_tokens = max_tokens
        self._recorder = recorder

    def admit(self) -> None:
        """
        Raises:
            BridgeError: `limit_exceeded`.
        """
        if self._max_lm_calls is not None and self.lm_calls >= self._max_lm_calls:
            raise _exceeded("max_lm_calls", self._max_lm_calls, "LM calls")
        self._check_tokens()

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Count one LM call.

        Raises:
            BridgeError: `limit_exceeded`.
        """
        super().add_usage(lm, usage_entry)
        if self._recorder is not None:
            self._recorder.note_usage(ACTIVE_CALL_ID.get(), usage_entry)
        if self._max_tokens is not None:
            self._check_tokens()
        if self._max_lm_calls is not None and self.lm_calls > self._max_lm_calls:
            raise _exceeded("max_lm_calls", self._max_lm_calls, "LM calls")

    def add_cost(self, cost: float | None) -> None:
        """Add US dollars."""
        super().add_cost(cost)
        if self._recorder is not None and cost is not None:
            self._recorder.note_cost(ACTIVE_CALL_ID.get(), cost)

    def _check_tokens(self) -> None:
        if self._max_tokens is not None and self.tokens["total_tokens"] > self._max_tokens:
            raise _exceeded("max_tokens", self._max_tokens, "tokens")


def _exceeded(name: str, limit: int, words: str) -> BridgeError:
    return BridgeError(
        "limit_exceeded",
        f"the execution needs more than {limit} {words} ({name}); raise the limit or make the program smaller",
        details={"limit": name, "maximum": limit},
    )


class Instruments:
    """What `CallContext.instruments` takes.

    Args:
        record: whether every step is kept, with its inputs and outputs; it costs some 0.3 ms a step.
    """

    def __init__(self, *, record: bool = False, max_lm_calls: int | None = None, max_tokens: int | None = None) -> None:
        self.recorder = StepRecorder() if record else None
        self.usage = MeteredUsage(max_lm_calls, max_tokens, self.recorder)

    def settings(self) -> dict[str, Any]:
        """Return what the call's `dspy.context` gets."""
        if self.recorder is None:
            return {}
        import dspy

        return {"callbacks": [*dspy.settings.get("callbacks", []), self.recorder]}

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was recorded so far."""
        return self.recorder.steps if self.recorder is not None else []


__all__ = ["Instruments", "MeteredUsage"]
