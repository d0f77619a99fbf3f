"""Watches calls for those who asked for it: clients that listen to telemetry, and tracers."""

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from python_bridge.errors import BridgeError
from python_bridge.services.observability.subscription import Subscription

if TYPE_CHECKING:
    from python_bridge.services.call import Call
    from python_bridge.services.observability.traces import Span, Tracer


class Observer:
    """Everyone who wants to know of calls, by connection: a client hears of its own calls only."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self.subscriptions: dict[Any, Subscription] = {}

    @property
    def listening(self) -> bool:
        """Whether there is anyone."""
        return self.tracer is not None or bool(self.subscriptions)

    def observe(self, call: "Call") -> "Observation | None":
        """Begin to watch a call, if it is of anyone's interest."""
        subscription = self.subscriptions.get(call.conversation)
        if subscription is not None and not subscription.wanted.takes_request(call.serial):
            subscription = None
        if subscription is None and self.tracer is None:
            return None
        fields = call.log_fields()
        span = self.tracer and self.tracer.start(
            call.request.method,
            call.request.meta.traceparent,
            {f"dspex.{name}": value for name, value in fields.items()},
        )
        return Observation(subscription, span, fields, call.timing.received)

    def forget(self, conversation: Any) -> None:
        """A client is gone, or wants to hear no more."""
        if (subscription := self.subscriptions.pop(conversation, None)) is not None:
            subscription.close()

    def broadcast(self, name: str, measurements: dict[str, Any]) -> None:
        """Tell every client of something that is no request's."""
        for subscription in self.subscriptions.values():
            subscription.put(name, measurements, {})


class Observation:
    """What is told of one call.

    Args:
        fields: metadata of all of its events.
        received: loop time when its frame was read.
    """

    __slots__ = ("_fields", "_queue_ms", "_received", "_span", "_subscription")

    def __init__(
        self, subscription: Subscription | None, span: "Span | None", fields: dict[str, Any], received: float
    ) -> None:
        self._subscription = subscription
        self._span = span
        self._fields = fields
        self._received = received
        self._queue_ms = 0.0

    @property
    def traceparent(self) -> str | None:
        """The traceparent for what the call asks of others; ``None`` leaves the caller's."""
        return self._span and self._span.traceparent

    def tell(self, name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Tell of a part of the call: ``"lm.stop"``, ``"tool.start"``, …; with `duration_ms` a span too."""
        if self._subscription is not None:
            self._subscription.put(name, measurements, {**self._fields, **metadata})
        if self._span is not None and (duration := measurements.get("duration_ms")) is not None:
            what, _, outcome = name.partition(".")
            error = str(metadata.get("kind") or metadata.get("error") or "failed") if outcome == "exception" else None
            attributes = {
                f"dspex.{key}": value for key, value in {**metadata, **measurements}.items() if value is not None
            }
            self._span.child(what, duration / 1000, attributes, error)

    def started(self, now: float) -> None:
        """The call got its place at loop time `now`."""
        self._queue_ms = _ms(now - self._received)
        self._put("call.start", {"queue_ms": self._queue_ms}, {})

    def stopped(self, now: float, result: Any) -> None:
        """The call was answered with `result`."""
        measurements, metadata = _of_prediction(result)
        self._put("call.stop", {**self._durations(now), **measurements}, metadata)
        if (cache := metadata.get("cache")) in ("hit", "miss"):
            self._put(f"cache.{cache}", {}, {})
        if self._span is not None:
            self._span.end()

    def failed(self, now: float, error: BridgeError) -> None:
        """The call was answered with an error."""
        spent = _of_usage(error.details.get("usage"), error.details.get("cost"))
        self._put("call.exception", {**self._durations(now), **spent}, {"kind": error.kind})
        if self._span is not None:
            self._span.end(error)

    def _put(self, name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        if self._subscription is not None:
            self._subscription.put(name, measurements, {**self._fields, **metadata})

    def _durations(self, now: float) -> dict[str, Any]:
        return {"duration_ms": _ms(now - self._received), "queue_ms": self._queue_ms}


def _of_prediction(result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a prediction measures and tells of itself; nothing of what was asked and answered."""
    if type(result) is not dict or "usage" not in result or "meta" not in result:
        return {}, {}
    prediction = cast("dict[str, dict[str, Any]]", result)
    usage, meta = prediction["usage"], prediction["meta"]
    return _of_usage(usage, prediction.get("cost")), {name: meta.get(name) for name in ("model", "adapter", "cache")}


def _of_usage(usage: Any, cost: Any) -> dict[str, Any]:
    if not isinstance(usage, dict):
        return {}
    counts = cast("dict[str, Any]", usage)
    names = ("lm_calls", "prompt_tokens", "completion_tokens", "total_tokens")
    return {**{name: counts[name] for name in names if name in counts}, "cost": cost}


async def timed(observation: Observation | None, name: str, metadata: dict[str, Any], work: Any) -> Any:
    """Await `work`; tell ``<name>.start``, and ``<name>.stop`` or ``<name>.exception`` with its `duration_ms`."""
    if observation is None:
        return await work
    started = time.perf_counter()
    observation.tell(f"{name}.start", {}, metadata)
    try:
        value = await work
    except (BridgeError, asyncio.CancelledError) as error:
        kind = error.kind if isinstance(error, BridgeError) else "cancelled"
        observation.tell(
            f"{name}.exception", {"duration_ms": _ms(time.perf_counter() - started)}, {**metadata, "kind": kind}
        )
        raise
    observation.tell(f"{name}.stop", {"duration_ms": _ms(time.perf_counter() - started)}, metadata)
    return value


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


__all__ = ["Observation", "Observer", "timed"]
