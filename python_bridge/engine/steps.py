"""Records what a call does step by step: modules, adapters, LMs, tools, with what goes in and what comes out."""

import time
from typing import Any

from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

from python_bridge.engine.failures import clean
from python_bridge.engine.outputs import to_plain
from python_bridge.engine.secrets import HIDDEN, hide
from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json

MAX_STEPS = 2000
_SECRET_PARTS = ("api_key", "authorization", "secret", "password")


class StepRecorder(BaseCallback):
    """A callback of DSPy for one call. `steps` are plain data, in the order in which they began.

    A step has `id`, `parent`, `kind` (``"module"``, ``"adapter.format"``, ``"adapter.parse"``, ``"lm"``, ``"tool"``),
    `name`, `inputs`, `outputs`, `error`, `started` (seconds since the epoch), `duration` (seconds); LM steps also
    `messages`, `completion`, `tokens`, `cost`. Steps above `MAX_STEPS` are counted in `dropped`.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.dropped = 0
        self._open: dict[str, tuple[dict[str, Any], float]] = {}
        self._same: dict[str, str] = {}

    def note_usage(self, call_id: str | None, usage: dict[str, Any]) -> None:
        """Tokens of the LM call that runs now."""
        if (found := self._open.get(call_id or "")) is not None:
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            found[0]["tokens"] = {name: usage[name] for name in names if usage.get(name) is not None}

    def note_cost(self, call_id: str | None, cost: float) -> None:
        """US dollars of the LM call that runs now."""
        if (found := self._open.get(call_id or "")) is not None:
            found[0]["cost"] = cost

    def _start(self, call_id: str, kind: str, name: str, inputs: Any, **more: Any) -> None:
        parent = ACTIVE_CALL_ID.get()
        parent = self._same.get(parent or "", parent)
        outer = self._open.get(parent or "")
        if outer is not None and kind.startswith("adapter") and outer[0]["kind"] == kind:
            # A subclass calls what it overrides, and DSPy tells of both: one step is meant.
            self._same[call_id] = outer[0]["id"]
            outer[0]["inputs"] = shown(inputs)
            return
        if len(self.steps) >= MAX_STEPS:
            self.dropped += 1
            return
        step = {
            "id": call_id,
            "parent": parent,
            "kind": kind,
            "name": name,
            "inputs": shown(inputs),
            "outputs": None,
            "error": None,
            "started": time.time(),
            "duration": None,
            **more,
        }
        self.steps.append(step)
        self._open[call_id] = step, time.perf_counter()

    def _end(self, call_id: str, outputs: Any, exception: BaseException | None, **more: Any) -> None:
        if (found := self._open.pop(call_id, None)) is None:
            return
        step, started = found
        error = None if exception is None else clean(f"{type(exception).__name__}: {exception}")
        step.update(outputs=shown(outputs), error=error, duration=time.perf_counter() - started, **more)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A module begins."""
        self._start(call_id, "module", type(instance).__name__, inputs.get("kwargs", inputs))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A module ends."""
        self._end(call_id, outputs, exception)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An LM is asked."""
        messages = inputs.get("messages") or [{"role": "user", "content": inputs.get("prompt")}]
        params = {**getattr(instance, "kwargs", {}), **inputs.get("kwargs", {})}
        self._start(
            call_id, "lm", str(getattr(instance, "model", "")), params, messages=shown(messages), completion=None
        )

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """An LM has answered."""
        first = outputs[0] if isinstance(outputs, list) and outputs else outputs
        text = first.get("text") if isinstance(first, dict) else first
        self._end(call_id, outputs, exception, completion=text if isinstance(text, str) else None)

    def on_adapter_format_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An adapter writes a prompt."""
        self._start(call_id, "adapter.format", type(instance).__name__, _named(inputs))

    def on_adapter_format_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """The prompt is written."""
        self._end(call_id, outputs, exception)

    def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """An adapter reads a completion."""
        self._start(call_id, "adapter.parse", type(instance).__name__, _named(inputs))

    def on_adapter_parse_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """The completion is read."""
        self._end(call_id, outputs, exception)

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """A tool begins."""
        self._start(call_id, "tool", str(getattr(instance, "name", "")), inputs.get("kwargs", inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """A tool ends."""
        self._end(call_id, outputs, exception)


def _named(inputs: dict[str, Any]) -> dict[str, Any]:
    signature = inputs.get("signature")
    named = {name: value for name, value in inputs.items() if name != "signature"}
    return named if signature is None else {"signature": signature.signature, **named}


def shown(value: Any) -> Any:
    """Return plain data for a record: what the wire does not know is told by its `repr`, keys are left out."""
    plain = _without_secrets(to_plain(value))
    try:
        return wire_json.decode(wire_json.encode(plain))
    except BridgeError:
        return _told(plain, 0)


def _told(value: Any, depth: int) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth < 16 and isinstance(value, dict):
        return {str(key): _told(item, depth + 1) for key, item in value.items()}
    if depth < 16 and isinstance(value, list | tuple | set | frozenset):
        return [_told(item, depth + 1) for item in value]
    return clean(repr(value))


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {name for name in value if any(part in str(name).lower() for part in _SECRET_PARTS)}
        return {name: HIDDEN if name in hidden else _without_secrets(item) for name, item in value.items()}
    if isinstance(value, str):
        return hide(value)
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


__all__ = ["MAX_STEPS", "StepRecorder", "shown"]
