"""W3C trace context in and out, and spans by the OpenTelemetry API.

Spans are made only where something listens: when the process has a tracer provider, as `opentelemetry-instrument` or
the embedding program sets it. Without one the caller's traceparent goes on to tools unchanged.
"""

import re
import sys
import time
from collections.abc import Mapping
from typing import Any

from python_bridge.errors import BridgeError

_TRACEPARENT = r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
_INVALID_VERSION = "ff"
_SHORT = 55


def read_traceparent(traceparent: str | None) -> tuple[str, str] | None:
    """Return trace id and parent id of a W3C traceparent; a wrong one is ignored, as if it were absent."""
    match = re.fullmatch(_TRACEPARENT, traceparent) if traceparent else None
    if match is None:
        return None
    version, trace, parent, _ = match.groups()
    if version == _INVALID_VERSION or not int(trace, 16) or not int(parent, 16):
        return None
    if version == "00" and len(match[0]) != _SHORT:
        return None
    return trace, parent


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace id of a W3C traceparent, ``None`` when there is none that is right."""
    read = read_traceparent(traceparent)
    return None if read is None else read[0]


def current_trace_id() -> str | None:
    """Return the id of OpenTelemetry's current trace; ``None`` where nobody has loaded it, or nothing is traced."""
    api: Any = sys.modules.get("opentelemetry.trace")
    context = None if api is None else api.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context is not None and context.is_valid else None


class Tracer:
    """Makes spans with a tracer of the OpenTelemetry API."""

    def __init__(self, provider: Any = None) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._tracer = trace.get_tracer("python_bridge", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def start(self, name: str, traceparent: str | None, attributes: Mapping[str, Any]) -> "Span":
        """Begin the span of a request, below the caller's."""
        context = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        kind = self._api.SpanKind.SERVER
        return Span(self, self._tracer.start_span(name, context, kind=kind, attributes=dict(attributes)))

    def record(
        self, parent: "Span", name: str, seconds: float, attributes: Mapping[str, Any], error: str | None
    ) -> None:
        """Make a span of something below `parent` that took `seconds` and ends now."""
        now = time.time_ns()
        context = self._api.set_span_in_context(parent.span)
        span = self._tracer.start_span(
            name,
            context,
            kind=self._api.SpanKind.CLIENT,
            attributes=dict(attributes),
            start_time=now - int(seconds * 1e9),
        )
        if error is not None:
            span.set_status(self._api.StatusCode.ERROR, error)
        span.end(now)

    def traceparent(self, span: Any) -> str | None:
        """Return the traceparent that makes `span` the parent."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._api.set_span_in_context(span))
        return carrier.get("traceparent")

    def fail(self, span: Any, error: BridgeError) -> None:
        """Mark a span with the kind of an error; its text may hold anything, and stays here."""
        span.set_attribute("error.type", error.kind)
        span.set_status(self._api.StatusCode.ERROR, error.kind)


class Span:
    """The span of one request.

    Attributes:
        traceparent: for what the request asks of others.
    """

    __slots__ = ("_tracer", "span", "traceparent")

    def __init__(self, tracer: Tracer, span: Any) -> None:
        self._tracer = tracer
        self.span = span
        self.traceparent = tracer.traceparent(span)

    def child(self, name: str, seconds: float, attributes: Mapping[str, Any], error: str | None = None) -> None:
        """Record something that took `seconds` and ends now."""
        self._tracer.record(self, name, seconds, attributes, error)

    def end(self, error: BridgeError | None = None) -> None:
        """The request has its answer."""
        if error is not None:
            self._tracer.fail(self.span, error)
        self.span.end()


def configured_tracer() -> Tracer | None:
    """Return a tracer when this process has a tracer provider of an SDK, else ``None``.

    Whoever sets a provider has imported the API: without it there is nothing to look for, nor to import.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    return Tracer(provider)


__all__ = ["Span", "Tracer", "configured_tracer", "current_trace_id", "read_traceparent", "trace_id"]
