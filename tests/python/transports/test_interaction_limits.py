"""What is too much, too large, unreadable or too late, and how a worker ends: the same on every transport."""

import asyncio
import json
from typing import Any

import numpy
import pyarrow
import pytest
from interaction import Connect, call, error_of, status_when, token

from python_bridge.wire.frames import encode_frame

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.3", "FR2.2.4", "OWN-1", "OWN-2")]


async def test_more_work_than_fits_is_overloaded_with_a_time_to_wait(connect: Connect) -> None:
    async with connect(max_in_flight=2, max_queue=3) as link:
        client = link.client
        await client.ready()
        held = [client.send("call", call({"stall": True})) for _ in range(5)]
        error = await error_of(client.request("call", call()))
        assert (error.kind, error.retryable) == ("overloaded", True)
        assert error.retry_after is not None
        assert error.retry_after > 0
        status = await client.request("worker/status")
        assert (status["in_flight"], status["queued"]) == (2, 3)
        assert await client.request("echo", {"value": "passes"}) == {"value": "passes"}
        client.cancel(held[4])  # one that waits
        client.cancel(held[0])  # one that runs
        assert (await error_of(client.response(held[4]))).kind == "cancelled"
        await status_when(client, lambda status: (status["in_flight"], status["queued"]) == (2, 1))
        for number in held[1:4]:
            client.cancel(number)
        assert (await client.request("call", call({"answer": 1})))["outputs"] == {"answer": 1}


async def test_a_deadline_runs_while_a_request_waits_in_the_queue(connect: Connect) -> None:
    async with connect(max_in_flight=1) as link:
        client = link.client
        await client.ready()
        held = client.send("call", call({"stall": True}))
        assert (await error_of(client.request("call", call(), deadline_ms=20))).kind == "timeout"
        client.cancel(held)
        assert (await client.request("call", call({"answer": 1})))["outputs"] == {"answer": 1}


@pytest.mark.req("FR2.2.1", "FR2.2.2", "FR1.2.4")
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_values_come_back_as_they_went_in_both_encodings(connect: Connect, encoding: Any) -> None:
    value = {"int": 2**200, "bytes": b"\xff" * 100_000, "tuple": (1, (2,)), "$type": None, "set": frozenset({1, "a"})}
    async with connect() as link:
        client = link.client
        client.connection.encoding = encoding
        await client.ready()
        back = await client.request("echo", {"value": value})
        assert back == {"value": value}
        assert list(back["value"]) == list(value)


@pytest.mark.req("FR2.2.2", "FR1.2.4")
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("rows", [3, 50_000])
async def test_tables_and_arrays_come_back_equal_small_and_as_attachments(
    connect: Connect, encoding: Any, rows: int
) -> None:
    columns = {"n": [None, *range(rows - 1)], "text": ["Grüße"] * rows, "nested": [[{"a": 1.5}]] * rows}
    table = pyarrow.table(columns)
    array = numpy.arange(rows * 2, dtype="float64").reshape(rows, 2)
    async with connect() as link:
        client = link.client
        client.connection.encoding = encoding
        await client.ready()
        value = {"table": table, "arrays": [array, pyarrow.Tensor.from_numpy(array)]}
        back = (await client.request("echo", {"value": value}))["value"]
        assert back["table"].to_table().equals(table)
        for tensor in back["arrays"]:
            assert numpy.array_equal(tensor.to_numpy(), array)


async def test_a_large_value_passes_and_one_above_the_cap_is_refused(connect: Connect) -> None:
    async with connect(max_frame_bytes=3_000_000) as link:
        client = link.client
        await client.ready()
        value = "x" * 2_900_000
        assert await client.request("echo", {"value": value}) == {"value": value}
        client.connection.peer_max_frame_bytes = 2**28
        client.send("echo", {"value": "x" * 3_000_000})
        assert (await client.refusals.get()).kind == "limit_exceeded"
        assert await client.request("echo", {"value": 1}) == {"value": 1}


async def test_an_answer_above_the_clients_cap_is_an_error_of_that_request(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        client.connection.max_frame_bytes = 10_000
        await client.ready()
        error = await error_of(client.request("echo", {"value": "x" * 20_000}))
        assert error.kind == "limit_exceeded"
        assert "10000" in error.message


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "protocol_error"),
        (b"\xc0", "protocol_error"),
        (b"{", "protocol_error"),
        (b'{"jsonrpc":"2.0"}', "invalid_request"),
        (b"[1]", "protocol_error"),
        (b"\x01\x00\x02\x00\x00\x00\x01{", "protocol_error"),
        (b'{"a":' * 5000, "limit_exceeded"),
    ],
    ids=["empty", "nil", "half JSON", "no message", "batch", "half multipart", "deep"],
)
async def test_bodies_that_cannot_be_read_are_reported_and_the_next_call_works(
    connect: Connect, body: bytes, kind: str
) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        client.write(encode_frame(body))
        assert (await client.refusals.get()).kind == kind
        assert await client.request("echo", {"value": 1}) == {"value": 1}


async def test_garbage_is_reported_and_ends_the_connection(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        client.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.refusals.get()).kind == "protocol_error"
        await client.closed


async def test_frames_in_single_bytes_are_understood(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        number = client.connection.request("echo", {"value": "in pieces"})
        answer = client._answers[number] = asyncio.get_running_loop().create_future()
        for byte in client.connection.take_output():
            client.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await answer == {"value": "in pieces"}


async def test_an_unknown_version_is_refused_by_name_and_ends_the_connection(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        number = client.send("initialize", {"protocol_versions": [7], "token": getattr(client, "token", None)})
        error = await error_of(client.response(number))
        assert (error.kind, error.retryable) == ("unavailable", False)
        assert "[7]" in error.message
        await client.closed


async def test_a_wrong_initialize_can_be_sent_again(connect: Connect) -> None:
    async with connect() as link:
        error = await error_of(link.client.request("initialize", {"protocol_versions": [1], "colour": "red"}))
        assert (error.kind, "'colour'" in error.message) == ("invalid_request", True)
        await link.client.ready()


async def test_shutdown_waits_for_what_is_in_flight_and_refuses_new_work(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        stream = client.stream("call", call(token("a"), {"answer": "finished"}), credit=0, grant=0)
        await status_when(client, lambda status: status["in_flight"] == 1)
        assert await client.request("shutdown", {"grace_ms": 60_000}) == {}
        error = await error_of(client.request("call", call()))
        assert (error.kind, error.retryable) == ("overloaded", True)
        assert (await client.request("worker/status"))["state"] == "draining"
        client.grant(stream.id, 1)
        assert (await stream.result())["outputs"] == {"answer": "finished"}
        await client.closed
        assert await link.ended == 0


async def test_shutdown_cancels_what_is_left_when_the_grace_is_over(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        number = client.send("call", call({"stall": True}))
        assert await client.request("shutdown", {"grace_ms": 10}) == {}
        assert (await error_of(client.response(number))).kind == "cancelled"
        await client.closed
        assert await link.ended == 0


async def test_an_engine_that_cannot_be_loaded_is_told_and_ends_with_78(connect: Connect) -> None:
    async with connect(default_lm="unavailable") as link:
        client = link.client
        hello = asyncio.ensure_future(client.initialize())
        await asyncio.sleep(0)  # lets it send
        waiting = client.send("call", call())
        await hello
        failed = await client.notification("worker/failed")
        assert failed["error"]["data"]["kind"] == "unavailable"
        error = await error_of(client.response(waiting))
        assert (error.kind, error.message) == ("unavailable", failed["error"]["message"])
        assert await link.ended == 78


async def test_a_slow_reader_holds_the_stream_and_loses_nothing(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        text = "x" * 100_000
        assert client.transport is not None
        stream = client.stream("call", call(*(token(text) for _ in range(60))), credit=100, grant=0)
        assert len([event async for event in stream if event["text"] == text]) == 60
        assert json.dumps((await stream.result())["meta"]["cache"]) == '"off"'
