"""Trace context in and out, and spans where an SDK is configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from links import PROGRAM
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from python_bridge.errors import BridgeError
from python_bridge.services.observability.traces import Tracer, configured_tracer, read_traceparent, trace_id
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.transports.memory import connect_memory
from python_bridge.worker.assembly import assemble
from python_bridge.worker.boot import boot

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def test_a_traceparent_is_read() -> None:
    assert read_traceparent(TRACEPARENT) == (TRACE, PARENT)
    assert read_traceparent(f"01-{TRACE}-{PARENT}-01-more") == (TRACE, PARENT)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-ab-cd-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        TRACEPARENT.upper(),
    ],
)
def test_a_wrong_traceparent_is_none(text: str | None) -> None:
    assert trace_id(text) is None


@given(st.text())
def test_any_text_is_a_traceparent_or_none(text: str) -> None:
    assert read_traceparent(text) is None or len(text) >= 55


@pytest.mark.req("NFR4.2.2")
def test_without_an_sdk_there_is_no_tracer() -> None:
    assert configured_tracer() is None


@pytest.mark.req("NFR4.2.2", "NFR2.2.4")
@pytest.mark.anyio
async def test_a_call_its_tool_and_its_error_are_spans_below_the_callers() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = Settings(engine="scripted")
    services = assemble(settings)
    services.observability.observer.tracer = Tracer(provider)
    services.dispatcher.observer = services.observability.observer
    asked: list[str | None] = []

    async def tool(arguments: dict[str, object]) -> str:
        return "found"

    client = connect_memory(services.dispatcher, lambda: Recorder(asked, tools={"find": tool}))
    await client.initialize()
    await boot(services.dispatcher, services.operations, ScriptedEngine(settings))
    inputs = {"script": [{"tool": "find"}, {"answer": "x"}]}
    await client.request("call", {"program": PROGRAM, "inputs": inputs}, traceparent=TRACEPARENT)
    with pytest.raises(BridgeError):
        await client.request("call", {"program": PROGRAM, "inputs": {"script": [{"raise": "lm_error"}]}})
    services.dispatcher.end(0)
    await client.closed
    await services.close()
    find, call, failed = exporter.get_finished_spans()
    assert (find.name, call.name, failed.name) == ("tool", "call", "call")
    assert call.parent is not None
    assert (f"{call.context.trace_id:032x}", f"{call.parent.span_id:016x}") == (TRACE, PARENT)
    assert find.parent is not None
    assert find.parent.span_id == call.context.span_id
    assert asked == [f"00-{TRACE}-{call.context.span_id:016x}-01"]
    assert failed.parent is None
    assert dict(failed.attributes or {})["error.type"] == "lm_error"


class Recorder(BridgeClient):
    """A client that keeps the traceparents of the tool calls it gets."""

    def __init__(self, asked: list[str | None], **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._asked = asked

    async def _run_tool(self, request: object) -> None:
        self._asked.append(request.meta.traceparent)  # type: ignore[attr-defined]
        await super()._run_tool(request)  # type: ignore[arg-type]
