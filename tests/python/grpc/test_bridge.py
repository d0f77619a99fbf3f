"""`Call` and `Stream`: single requests of gRPC clients."""

import asyncio
import json
import signal
from typing import Any

import grpc
import pyarrow
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from links import PROGRAM, TOKEN

from python_bridge._proto import bridge_pb2 as pb
from python_bridge.errors import BridgeError
from python_bridge.transports.grpc.payloads import read_params, write_payload
from python_bridge.transports.grpc.statuses import TRAILER, read_error
from python_bridge.wire.arrow import write_table
from python_bridge.wire.values import DEFAULT_LIMITS, ArrowData

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.2", "FR2.2.3", "FR2.2.4")]

METADATA = (("authorization", f"Bearer {TOKEN}"),)
CAP = 2**26


def request(method: str, params: dict[str, Any], encoding: int = pb.ENCODING_JSON, **meta: str) -> pb.CallRequest:
    payload = write_payload(params, encoding, DEFAULT_LIMITS, CAP)
    return pb.CallRequest(method=method, params=payload, meta=pb.Meta(**meta))


def script(*steps: dict[str, Any]) -> pb.CallRequest:
    return request("call", {"program": PROGRAM, "inputs": {"script": list(steps)}})


def token(text: str) -> dict[str, Any]:
    return {"emit": {"type": "token", "field": "answer", "text": text, "last": False}}


def result_of(response: pb.CallResponse) -> dict[str, Any]:
    return read_params(response.result, DEFAULT_LIMITS, CAP)


async def failure(call: Any) -> tuple[grpc.StatusCode, BridgeError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailer = dict(caught.value.trailing_metadata() or ())
    return caught.value.code(), read_error(trailer[TRAILER])


@pytest.mark.parametrize("encoding", [pb.ENCODING_UNSPECIFIED, pb.ENCODING_JSON, pb.ENCODING_MSGPACK])
async def test_a_call_is_answered_in_its_encoding_and_loses_nothing(served: Any, encoding: int) -> None:
    value = {"int": 2**200, "null": None, "bytes": b"\xff" * 100_000, "nested": [{"a": (1, 2.5)}]}
    async with served() as worker:
        response = await worker.stub.Call(request("echo", {"value": value}, encoding), metadata=METADATA)
        assert result_of(response) == {"value": value}
        assert response.result.encoding == (encoding or pb.ENCODING_JSON)


async def test_a_table_travels_as_arrow_both_ways(served: Any) -> None:
    table = pyarrow.table({"n": list(range(1000)), "text": ["x"] * 1000})
    sent = pb.CallRequest(method="echo", params=pb.Payload(data=write_table(table), encoding=pb.ENCODING_ARROW))
    async with served() as worker:
        response = await worker.stub.Call(sent, metadata=METADATA)
        assert response.result.encoding == pb.ENCODING_ARROW
        assert ArrowData(response.result.data).to_table().equals(table)


async def test_a_stream_gives_its_events_in_order_and_then_the_response(served: Any) -> None:
    steps = [token(str(number)) for number in range(100)]
    async with served() as worker:
        messages = [message async for message in worker.stub.Stream(script(*steps, {"answer": 7}), metadata=METADATA)]
        events = [message.event for message in messages[:-1]]
        assert [event.seq for event in events] == list(range(100))
        assert [json.loads(event.event.data)["text"] for event in events] == [str(number) for number in range(100)]
        assert result_of(messages[-1].response)["outputs"] == {"answer": 7}


async def test_a_client_that_reads_nothing_holds_the_stream_back(served: Any) -> None:
    steps = [token("x" * 100_000) for _ in range(300)]
    async with served() as worker:
        stream = worker.stub.Stream(script(*steps, {"answer": 1}), metadata=METADATA)
        await stream.read()
        status = result_of(await worker.stub.Call(request("worker/status", {}), metadata=METADATA))
        assert status["in_flight"] == 1
        rest = [await stream.read() for _ in range(300)]
        assert result_of(rest[-1].response)["outputs"] == {"answer": 1}


@pytest.mark.req("NFR2.2.1")
async def test_errors_are_a_status_with_the_error_in_the_trailer(served: Any) -> None:
    async with served() as worker:
        step = {"raise": "lm_error", "message": "no luck", "details": {"status": 429}}
        code, error = await failure(worker.stub.Call(script(step), metadata=METADATA))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert (error.kind, error.message, error.details) == ("lm_error", "no luck", {"status": 429})
        stream = worker.stub.Stream(script(token("a"), {"raise": "program_error"}), metadata=METADATA)
        assert (await stream.read()).event.seq == 0
        code, error = await failure(stream.read())
        assert (code, error.kind) == (grpc.StatusCode.FAILED_PRECONDITION, "program_error")


@pytest.mark.req("NFR2.2.2")
@pytest.mark.parametrize("letter", ["x", "%", "\n", "é", "日", "😀"])
async def test_an_error_of_any_length_in_any_script_reaches_a_client_with_the_limits_of_grpc(
    served: Any, letter: str
) -> None:
    details = {"text": letter * 800}
    async with served() as worker, grpc.aio.insecure_channel(worker.target) as plain:
        step = {"raise": "lm_error", "message": letter * 5000, "details": details}
        code, error = await failure(type(worker.stub)(plain).Call(script(step), metadata=METADATA))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert error.kind == "lm_error"
        assert error.message
        assert set(error.message) == {letter}
        if len(json.dumps(details, ensure_ascii=False).encode()) < 2500:
            assert error.details == details


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (request("no.such", {}), "not_found"),
        (request("initialize", {"protocol_versions": [1]}), "invalid_request"),
        (request("echo", {"colour": 1}), "invalid_request"),
        (request("echo", {"value": 1, "_meta": {"stream": True}}), "invalid_request"),
        (pb.CallRequest(method="echo", params=pb.Payload(data=b"{")), "protocol_error"),
        (pb.CallRequest(method="echo", params=pb.Payload(data=b"[1]")), "invalid_request"),
        (pb.CallRequest(method="echo", params=pb.Payload(data=b"{}", encoding=9)), "invalid_request"),
        (
            pb.CallRequest(method="echo", params=pb.Payload(data=b"\xc1", encoding=pb.ENCODING_MSGPACK)),
            "protocol_error",
        ),
        (request("echo", {"value": "x" * 200_000}), "limit_exceeded"),
    ],
    ids=["method", "initialize", "member", "meta", "half", "list", "encoding", "msgpack", "size"],
)
async def test_what_is_wrong_is_refused_by_name_and_the_next_call_works(
    served: Any, sent: pb.CallRequest, kind: str
) -> None:
    async with served(max_frame_bytes=100_000) as worker:
        assert (await failure(worker.stub.Call(sent, metadata=METADATA)))[1].kind == kind
        response = await worker.stub.Call(request("echo", {"value": 1}), metadata=METADATA)
        assert result_of(response) == {"value": 1}


async def test_a_message_far_above_the_cap_is_refused_by_grpc_and_the_next_call_works(served: Any) -> None:
    async with served(max_frame_bytes=100_000) as worker:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.stub.Call(request("echo", {"value": "x" * 3_000_000}), metadata=METADATA)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        response = await worker.stub.Call(request("echo", {"value": 1}), metadata=METADATA)
        assert result_of(response) == {"value": 1}


async def idle(worker: Any) -> None:
    """Wait until nothing is in flight; each answer is a turn of the worker's loop."""
    while result_of(await worker.stub.Call(request("worker/status", {}), metadata=METADATA))["in_flight"]:
        pass


async def test_the_deadline_of_the_call_stops_the_work(served: Any) -> None:
    async with served() as worker:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.stub.Call(script({"stall": True}), metadata=METADATA, timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await idle(worker)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.stub.Call(script({"answer": 1}), metadata=METADATA, timeout=0)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancelling_a_call_or_a_stream_stops_its_work(served: Any) -> None:
    async with served() as worker:
        stream = worker.stub.Stream(script(token("a"), {"stall": True}), metadata=METADATA)
        await stream.read()
        stream.cancel()
        call = worker.stub.Call(script({"stall": True}), metadata=METADATA)
        while result_of(await worker.stub.Call(request("worker/status", {}), metadata=METADATA))["in_flight"] != 1:
            pass
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await idle(worker)


async def test_a_client_that_is_gone_stops_its_work(served: Any) -> None:
    async with served() as worker:
        async with grpc.aio.insecure_channel(worker.target) as other:
            stream = type(worker.stub)(other).Stream(script(token("a"), {"stall": True}), metadata=METADATA)
            await stream.read()
        await idle(worker)


@pytest.mark.parametrize("metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", TOKEN),)])
async def test_without_the_token_nothing_but_health_is_answered(served: Any, metadata: Any) -> None:
    async with served() as worker:
        code, error = await failure(worker.stub.Call(request("echo", {"value": 1}), metadata=metadata))
        assert (code, error.kind) == (grpc.StatusCode.UNAUTHENTICATED, "unauthorized")
        assert (await failure(worker.stub.Connect(metadata=metadata).read()))[1].kind == "unauthorized"
        assert (await failure(worker.stub.Stream(script(), metadata=metadata).read()))[1].kind == "unauthorized"
        health = health_pb2_grpc.HealthStub(worker.channel)
        assert await health.Check(health_pb2.HealthCheckRequest())


@pytest.mark.parametrize("method", ["Call", "Stream", "Connect"])
async def test_a_stranger_is_refused_before_a_message_of_his_is_taken(served: Any, method: str) -> None:
    async def silent() -> Any:
        await asyncio.Event().wait()
        yield b""

    async with served() as worker:
        call = worker.channel.stream_unary(f"/dspex.bridge.v1.Bridge/{method}")(silent())
        assert (await failure(call))[1].kind == "unauthorized"


@pytest.mark.req("FR2.1.4")
async def test_health_follows_the_worker_and_an_unknown_service_is_not_found(served: Any) -> None:
    async with served() as worker:
        health = health_pb2_grpc.HealthStub(worker.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="dspex.bridge.v1.Bridge"))
        while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="no.such"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        stream = worker.stub.Stream(script(token("a"), {"sleep_ms": 300}, {"answer": "done"}), metadata=METADATA)
        await stream.read()
        worker.process.signal(signal.SIGTERM)
        while (await watch.read()).status != health_pb2.HealthCheckResponse.NOT_SERVING:
            pass
        assert result_of((await stream.read()).response)["outputs"] == {"answer": "done"}
        assert await worker.process.exited == 0


@pytest.mark.parametrize("flag", ["true", "false"])
async def test_reflection_tells_the_services_only_when_it_is_on(served: Any, flag: str) -> None:
    async with served(grpc_reflection=flag) as worker:

        def names(admit: Any = _WithToken) -> set[str]:
            with grpc.insecure_channel(worker.target) as channel:
                return set(ProtoReflectionDescriptorDatabase(admit(channel)).get_services())

        if flag == "true":
            assert {"dspex.bridge.v1.Bridge", "grpc.health.v1.Health"} <= await asyncio.to_thread(names)
            with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
                await asyncio.to_thread(names, lambda channel: channel)
        else:
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                await asyncio.to_thread(names)


class _Token(grpc.StreamStreamClientInterceptor):
    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(client_call_details._replace(metadata=METADATA), request_iterator)


def _WithToken(channel: grpc.Channel) -> grpc.Channel:  # noqa: N802
    return grpc.intercept_channel(channel, _Token())
