"""What of Snakepit's contract needs no process: values, errors, sessions, the calls that the BEAM answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import snakepit_client as snakepit
from google.protobuf.any_pb2 import Any as AnyMessage

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge._proto.snakepit_bridge_pb2_grpc import BridgeServiceStub
from python_bridge.errors import BridgeError
from python_bridge.transports.grpc.snakepit.elixir import Elixir
from python_bridge.transports.grpc.snakepit.server import serve_snakepit
from python_bridge.transports.grpc.snakepit.telemetry import Feed
from python_bridge.transports.grpc.snakepit.values import error_json, read_any, read_parameters, to_json, write_any

pytestmark = [pytest.mark.anyio, pytest.mark.req("TC1")]


class NoWorker:
    """A worker process that has ended."""

    async def wait_link(self) -> Any:
        raise BridgeError("worker_lost", "the worker's process ended with status 1")


async def hello() -> Any:
    return {"said": "hello"}


async def broken() -> Any:
    raise KeyError("secret")


@asynccontextmanager
async def served(local: dict[str, Any] | None = None) -> AsyncIterator[Any]:
    """The service alone: its own tools work, all others find no worker."""
    local = {"hello": ("says hello", hello), "broken": ("fails", broken), **(local or {})}
    running = await serve_snakepit(0, None, NoWorker(), {}, local, "w1")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            yield BridgeServiceStub(channel)
    finally:
        await running.stop(0)


def asked(tool: str) -> Any:
    return pb.ExecuteToolRequest(tool_name=tool)


async def test_sessions_are_known_until_they_are_cleaned_up() -> None:
    async with served() as stub:
        metadata = {"team": "a"}
        begun = await stub.InitializeSession(pb.InitializeSessionRequest(session_id="s", metadata=metadata))
        assert begun.success
        found = await stub.GetSession(pb.GetSessionRequest(session_id="s"))
        assert (found.session_id, dict(found.metadata)) == ("s", metadata)
        assert found.tool_count == len(begun.available_tools)
        assert (await stub.CleanupSession(pb.CleanupSessionRequest(session_id="s"))).resources_cleaned == 1
        assert (await stub.CleanupSession(pb.CleanupSessionRequest(session_id="s"))).resources_cleaned == 0
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSession(pb.GetSessionRequest(session_id="s"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_sessions_are_bounded_and_the_oldest_leaves_first() -> None:
    async with served() as stub:
        for number in range(1025):
            await stub.InitializeSession(pb.InitializeSessionRequest(session_id=f"s{number}"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetSession(pb.GetSessionRequest(session_id="s0"))
        assert (await stub.GetSession(pb.GetSessionRequest(session_id="s1024"))).session_id == "s1024"


async def test_what_the_beam_answers_is_told_to_be_there() -> None:
    async with served() as stub:
        for call in (
            stub.RegisterTools(pb.RegisterToolsRequest()),
            stub.GetExposedElixirTools(pb.GetExposedElixirToolsRequest()),
            stub.ExecuteElixirTool(pb.ExecuteElixirToolRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match="--elixir-address") as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_control_and_own_tools_work_without_a_worker_process_and_the_others_say_that_it_is_lost() -> None:
    async with served() as stub:
        assert (await stub.Ping(pb.PingRequest(message="hi"))).message == "hi"
        assert (await stub.Heartbeat(pb.HeartbeatRequest(session_id="any"))).session_valid
        assert json.loads((await stub.ExecuteTool(asked("hello"))).result.value) == {"said": "hello"}
        (chunk,) = [chunk async for chunk in stub.ExecuteStreamingTool(asked("hello"))]
        assert (json.loads(chunk.data), chunk.is_final) == ({"said": "hello"}, True)
        told = json.loads((await stub.ExecuteTool(asked("worker/status"))).error_message)
        assert told["type"] == "worker_lost"
        telemetry = stub.StreamTelemetry()
        await telemetry.initial_metadata()
        telemetry.cancel()


async def test_the_text_of_a_defect_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as stub:
        told = json.loads((await stub.ExecuteTool(asked("broken"))).error_message)
    assert told["type"] == "internal"
    assert "secret" not in json.dumps(told)
    assert "secret" in caplog.text


async def test_without_a_beam_no_tool_of_elixir_can_be_called() -> None:
    elixir = Elixir(None)
    await elixir.register("s", "w1", ())
    with pytest.raises(BridgeError, match="--elixir-address"):
        await elixir.run_tool("s", "add", {})
    await elixir.close()


async def test_a_beam_that_is_gone_fails_its_tools_by_name() -> None:
    elixir = Elixir("127.0.0.1:1")
    await elixir.register("s", "w1", ())
    with pytest.raises(BridgeError, match="UNAVAILABLE") as caught:
        await elixir.run_tool("s", "add", {"a": 1})
    assert (caught.value.kind, caught.value.details["tool"]) == ("tool_error", "add")
    await elixir.close()


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(BridgeError, match="'value' is in parameters and in binary_parameters"):
        read_parameters({"value": snakepit.any_of(1)}, {"value": b"x"})


def test_values_that_json_lacks_have_tags_and_a_users_tag_is_escaped() -> None:
    value = {"bytes": b"\0", "tuple": (1, 2), "own": {"$type": "mine"}, "nan": float("inf"), "large": -(2**80)}
    assert read_any(write_any(value), "value") == value
    assert json.loads(to_json({"plain": 2**80})) == {"plain": 2**80}


def test_a_label_says_nothing_and_a_packed_message_is_refused() -> None:
    assert read_any(AnyMessage(type_url="whatever", value=b"[1]"), "value") == [1]
    packed = AnyMessage()
    packed.Pack(pb.PingRequest(message="hello"))
    with pytest.raises(BridgeError, match="no JSON text"):
        read_any(packed, "value")


def test_an_error_whose_details_cannot_be_told_is_told_without_them() -> None:
    error = BridgeError("tool_error", "it failed", details={"what": object()})
    context = json.loads(error_json(error, "add"))["context"]
    assert (context["tool"], context["retryable"], "details" in context) == ("add", False, False)


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize("letter", ["x", "%", "\n", "é", "日", "😀", '"'])
async def test_an_error_of_a_stream_reaches_a_client_however_long_it_is(letter: str) -> None:
    async def failing() -> Any:
        raise BridgeError("lm_error", letter * 20_000, details={"text": letter * 20_000})

    async with served(local={"failing": ("fails", failing)}) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ExecuteStreamingTool(asked("failing")).read()
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    told = json.loads(caught.value.details() or "")
    assert (told["type"], set(told["message"]), told["context"]["tool"]) == ("lm_error", {letter}, "failing")


async def test_names_that_are_long_are_told_again_in_part() -> None:
    name = "x" * 100_000
    async with served() as stub:
        events = stub.StreamTelemetry()
        await events.initial_metadata()
        response = await stub.ExecuteTool(pb.ExecuteToolRequest(tool_name=name, metadata={"correlation_id": name}))
        assert len(response.error_message) < 2_000
        event = await events.read()
        assert (len(event.metadata["tool"]), len(event.correlation_id)) == (128, 128)
        events.cancel()


async def test_what_sessions_and_streams_of_telemetry_keep_is_bounded() -> None:
    async with served() as stub:
        metadata = {"team": "a" * 100_000}
        begun = await stub.InitializeSession(pb.InitializeSessionRequest(session_id="s", metadata=metadata))
        assert (begun.success, "limit of" in begun.error_message) == (False, True)
        open_ones = [stub.StreamTelemetry() for _ in range(64)]
        for stream in open_ones:
            await stream.initial_metadata()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.StreamTelemetry().read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in open_ones:
            stream.cancel()


async def test_bytes_that_are_none_are_a_result_all_the_same() -> None:
    async def nothing() -> Any:
        return b""

    async with served(local={"nothing": ("gives no bytes", nothing)}) as stub:
        response = await stub.ExecuteTool(asked("nothing"))
    assert read_any(response.result, "result") == b""


@pytest.mark.parametrize("text", [b"1e400", b"-1e999", b"[1e309]"])
def test_a_number_beyond_the_range_of_a_float_is_refused_and_does_not_become_infinite(text: bytes) -> None:
    with pytest.raises(BridgeError, match="beyond the range"):
        read_any(AnyMessage(value=text), "value")


def test_a_sampling_rate_that_is_no_number_changes_nothing() -> None:
    feed = Feed()
    feed.control(pb.TelemetryControl(sampling=pb.TelemetrySamplingUpdate(sampling_rate=float("nan"))))
    assert feed.wants("tool.execution.start")


def test_a_feed_is_bounded_sampled_and_switched_off() -> None:
    feed = Feed()
    assert not feed.wants("no.such.event")
    feed.control(pb.TelemetryControl(toggle=pb.TelemetryToggle(enabled=False)))
    assert not feed.wants("tool.execution.start")
    feed.control(pb.TelemetryControl(toggle=pb.TelemetryToggle(enabled=True)))
    never = pb.TelemetrySamplingUpdate(sampling_rate=-1, event_patterns=["tool.*"])
    feed.control(pb.TelemetryControl(sampling=never))
    assert not feed.wants("tool.execution.start")
    assert feed.wants("python.call.start")
    feed.control(pb.TelemetryControl(filter=pb.TelemetryEventFilter(allow=["python.memory.*"])))
    assert not feed.wants("python.call.start")
    assert feed.wants("python.memory.sampled")
