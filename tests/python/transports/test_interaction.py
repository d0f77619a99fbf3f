"""How a client and a worker get on with each other: the same on every transport."""

import asyncio
from typing import Any

import pytest
from interaction import Connect, call, error_of, status_when, token
from links import PROGRAM

from python_bridge.wire.codec import encode_body
from python_bridge.wire.frames import encode_frame

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.3", "FR2.2.4", "OWN-1", "OWN-2")]


async def test_initialize_tells_who_the_worker_is_and_ready_follows(connect: Connect) -> None:
    async with connect(max_in_flight=7, max_queue=9) as link:
        hello = await link.client.initialize()
        assert hello["protocol_version"] == 1
        assert hello["limits"]["max_in_flight"] == 7
        assert hello["limits"]["max_queue"] == 9
        assert hello["encodings"] == ["json", "msgpack"]
        assert {"initialize", "ping", "echo", "shutdown", "call", "module.call"} <= set(hello["operations"])
        assert isinstance(hello["pid"], int)
        ready = await link.client.notification("ready")
        assert ready["dspy"] == {"version": "scripted"}
        assert "stream" in ready["features"]


async def test_requests_sent_before_ready_wait_for_it(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        hello = asyncio.ensure_future(client.initialize())
        await asyncio.sleep(0)  # lets it send
        echo, answer = client.send("echo", {"value": 1}), client.send("call", call({"answer": "x"}))
        await hello
        assert await client.response(echo) == {"value": 1}
        assert (await client.response(answer))["outputs"] == {"answer": "x"}
        assert [notification.method for notification in client.notifications] == ["ready"]


async def test_a_request_before_initialize_is_refused_and_ping_is_not(connect: Connect) -> None:
    async with connect() as link:
        assert await link.client.request("ping") == {}
        error = await error_of(link.client.request("echo", {"value": 1}))
        assert error.kind == "invalid_request"
        await link.client.ready()


async def test_a_program_is_put_called_described_and_dropped(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        put = await client.request("program.put", {"program": PROGRAM})
        assert put == await client.request("module.create", {"program": PROGRAM})
        module = put["module"]
        assert len(module) == 64
        assert (await client.request("module.describe", {"module": module}))["kind"] == "scripted"
        prediction = await client.request(
            "module.call", {"module": module, "inputs": {"a": 1}}, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01"
        )
        assert prediction["outputs"] == {"answer": {"a": 1}}
        assert prediction["meta"]["trace_id"] == "ab" * 16
        assert prediction["meta"]["run_ms"] >= 0
        assert await client.request("module.drop", {"module": module}) == {"dropped": True}
        assert await client.request("module.drop", {"module": module}) == {"dropped": False}
        error = await error_of(client.request("module.call", {"module": module, "inputs": {}}))
        assert (error.kind, error.need) == ("not_found", "program")


async def test_hundreds_of_calls_are_in_flight_and_answered_each_with_its_own(connect: Connect) -> None:
    async with connect(max_in_flight=300) as link:
        client = link.client
        await client.ready()
        stalled = [client.send("call", call({"stall": True})) for _ in range(200)]
        calls = [client.request("call", call({"sleep_ms": n % 7}, {"answer": n})) for n in range(100)]
        answers = await asyncio.gather(*calls)
        assert [answer["outputs"]["answer"] for answer in answers] == list(range(100))
        status = await status_when(client, lambda status: status["in_flight"] == 200)
        assert status["queued"] == 0
        for number in stalled:
            client.cancel(number)
        errors = await asyncio.gather(*(error_of(client.response(number)) for number in stalled))
        assert {error.kind for error in errors} == {"cancelled"}
        await status_when(client, lambda status: status["in_flight"] == 0)


async def test_a_stream_gives_its_events_in_order_and_then_the_result(connect: Connect) -> None:
    async with connect() as link:
        await link.client.ready()
        script = call(*(token(str(n)) for n in range(100)), {"answer": "done"})
        stream = link.client.stream("call", script, credit=3)
        assert [event["text"] async for event in stream] == [str(n) for n in range(100)]
        assert stream.sequence == list(range(100))
        assert (await stream.result())["outputs"] == {"answer": "done"}


async def test_a_stream_without_credit_waits_and_control_messages_still_pass(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        stream = client.stream("call", call(token("a"), token("b"), token("c"), {"answer": 1}), credit=1, grant=0)
        assert (await stream.next())["text"] == "a"
        await client.request("ping")
        await client.request("echo", {"value": 1})
        assert stream.waiting() == 0
        client.grant(stream.id, 1)
        assert (await stream.next())["text"] == "b"
        client.grant(stream.id, 5)
        assert (await stream.next())["text"] == "c"
        assert (await stream.result())["outputs"] == {"answer": 1}


async def test_two_streams_do_not_wait_for_each_other(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        halted = client.stream("call", call(token("a"), token("b")), credit=0, grant=0)
        running = client.stream("call", call(*(token(str(n)) for n in range(50))), credit=1)
        assert len([event async for event in running]) == 50
        assert halted.waiting() == 0
        client.grant(halted.id, 2)
        assert [event["text"] async for event in halted] == ["a", "b"]


async def test_a_cancelled_stream_ends_with_one_answer_and_no_event_after_it(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        stream = client.stream("call", call(*(token(str(n)) for n in range(1000))), credit=5, grant=0)
        assert (await stream.next())["text"] == "0"
        client.cancel(stream.id)
        assert (await error_of(stream.result())).kind == "cancelled"
        await client.request("ping")
        assert [event["text"] async for event in stream] == ["1", "2", "3", "4"]


async def test_a_cancel_stops_the_work_and_what_is_unknown_is_ignored(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        number = client.send("call", call({"stall": True}))
        await status_when(client, lambda status: status["in_flight"] == 1)
        client.cancel(number)
        assert (await error_of(client.response(number))).kind == "cancelled"
        await status_when(client, lambda status: status["in_flight"] == 0)
        for params in ({"id": number}, {"id": 999}, {"id": "x"}, {}):
            client.connection.notify("$/cancelRequest", params)
            client.connection.notify("stream/credit", {**params, "n": 2**53})
        assert await client.request("ping") == {}


async def test_a_call_that_ignores_its_cancel_is_answered_at_once_and_counted(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        number = client.send("call", call({"stubborn": 2}))
        await status_when(client, lambda status: status["in_flight"] == 1)
        client.cancel(number)
        assert (await error_of(client.response(number))).kind == "cancelled"
        status = await client.request("worker/status")
        assert (status["in_flight"], status["abandoned_threads"]) == (1, 1)


async def test_a_deadline_stops_the_work_with_timeout(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        error = await error_of(client.request("call", call({"stall": True}), deadline_ms=30))
        assert error.kind == "timeout"
        assert "30 ms" in error.message
        await status_when(client, lambda status: status["in_flight"] == 0)
        answer = await client.request("call", call({"answer": 1}), deadline_ms=60_000)
        assert answer["outputs"] == {"answer": 1}


async def test_a_deadline_of_zero_is_a_timeout_without_work(connect: Connect) -> None:
    async with connect() as link:
        await link.client.ready()
        before = (await link.client.request("worker/status"))["calls"]
        for method, params in (("call", call()), ("echo", {"value": 1})):
            assert (await error_of(link.client.request(method, params, deadline_ms=0))).kind == "timeout"
        assert (await link.client.request("worker/status"))["calls"] == before


async def test_a_deadline_runs_on_while_a_stream_waits_for_credit(connect: Connect) -> None:
    async with connect() as link:
        await link.client.ready()
        stream = link.client.stream("call", call(token("a")), credit=0, grant=0, deadline_ms=30)
        assert (await error_of(stream.result())).kind == "timeout"


async def test_a_duplicate_id_does_not_disturb_the_first_request(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        number = client.send("call", call({"sleep_ms": 1}, {"answer": "first"}))
        body = {"jsonrpc": "2.0", "id": number, "method": "call", "params": call({"answer": "second"})}
        client.write(encode_frame(encode_body(body)))
        refusal = await client.refusals.get()
        assert (refusal.kind, refusal.details) == ("invalid_request", {"id": number})
        assert (await client.response(number))["outputs"] == {"answer": "first"}


@pytest.mark.parametrize(
    ("method", "params", "kind", "text"),
    [
        ("nope", {}, "not_found", "module.call"),
        ("echo", {}, "invalid_request", "lacks value"),
        ("echo", {"value": 1, "more": 2}, "invalid_request", "'more'"),
        ("ping", {"x": 1}, "invalid_request", "takes nothing"),
        ("module.call", {"module": 5, "inputs": {}}, "invalid_request", "module of module.call must be text"),
        ("call", {"program": PROGRAM, "inputs": {}, "options": {"heat": 1}}, "invalid_request", "'heat'"),
        ("program.put", {"program": {}}, "invalid_request", "kind"),
        ("module.create", {"program": {"kind": "broken"}}, "signature_error", "broken"),
        ("initialize", {"protocol_versions": [1]}, "invalid_request", "twice"),
        ("shutdown", {"grace_ms": -1}, "invalid_request", "grace_ms"),
    ],
)
async def test_wrong_requests_name_what_is_wrong(
    connect: Connect, method: str, params: dict[str, Any], kind: str, text: str
) -> None:
    async with connect() as link:
        await link.client.ready()
        error = await error_of(link.client.request(method, params))
        assert error.kind == kind
        assert text in error.message
        assert await link.client.request("echo", {"value": 1}) == {"value": 1}


@pytest.mark.req("NFR2.2.1", "NFR2.2.2")
async def test_a_meta_of_the_wrong_form_is_refused_with_every_method(connect: Connect) -> None:
    methods = {"ping": {}, "echo": {"value": 1}, "module.call": {"module": "0" * 64, "inputs": {}}, "shutdown": {}}
    wrong = {
        "session": [5, "", "x" * 257, "a\nb", ["s"]],
        "tenant": [0, "", "\0"],
        "idempotency_key": [1.5, "", "k" * 257],
        "deadline_ms": [-1, 1.5, "1", True],
        "stream": [1, "true"],
        "credit": [-1, "1"],
        "traceparent": [5],
        "within": ["s", [1], [""]],
    }
    async with connect() as link:
        await link.client.ready()
        cases = [(name, value) for name, values in wrong.items() for value in values]
        for method, params in methods.items():
            for name, value in cases:
                error = await error_of(link.client.request(method, params, **{name: value}))
                assert (error.kind, f"_meta.{name}" in error.message) == ("invalid_request", True)
                assert len(error.message) < 300
        assert await link.client.request("echo", {"value": 1}, session="s", colour="red") == {"value": 1}


@pytest.mark.req("NFR2.2.1")
async def test_errors_of_programs_arrive_as_they_are_and_defects_keep_their_text(connect: Connect) -> None:
    async with connect() as link:
        client = link.client
        await client.ready()
        step = {"raise": "lm_error", "message": "429", "details": {"provider": "p"}}
        error = await error_of(client.request("call", call(step)))
        assert (error.kind, error.message, error.details) == ("lm_error", "429", {"provider": "p"})
        error = await error_of(client.request("call", call({"raise": "defect", "message": "the key is sk-1"})))
        assert error.kind == "internal"
        assert "sk-1" not in error.message
        assert "RuntimeError" in error.message


async def test_tools_of_the_client_are_called_and_their_errors_come_back(connect: Connect) -> None:
    async def add(arguments: dict[str, Any]) -> Any:
        return arguments["a"] + arguments["b"]

    async def fail(arguments: dict[str, Any]) -> Any:
        raise ValueError("no such city")

    async with connect(tools={"add": add, "fail": fail}) as link:
        client = link.client
        await client.ready()
        step = {"tool": "add", "arguments": {"a": 1, "b": 2.5}}
        answer = await client.request("call", call(step, step))
        assert answer["outputs"]["tools"] == [3.5, 3.5]
        error = await error_of(client.request("call", call({"tool": "fail"})))
        assert (error.kind, error.details["tool"]) == ("tool_error", "fail")
        assert "no such city" in error.message


async def test_a_cancelled_request_cancels_its_tool_calls(connect: Connect) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stall(arguments: dict[str, Any]) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with connect(tools={"stall": stall}) as link:
        client = link.client
        await client.ready()
        number = client.send("call", call({"tool": "stall"}))
        await begun.wait()
        client.cancel(number)
        assert (await error_of(client.response(number))).kind == "cancelled"
        await ended.wait()
        assert await client.request("ping") == {}


async def test_a_tool_that_does_not_answer_in_time_is_a_tool_error_and_is_cancelled(connect: Connect) -> None:
    ended = asyncio.Event()

    async def stall(arguments: dict[str, Any]) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with connect(tools={"stall": stall}) as link:
        await link.client.ready()
        error = await error_of(link.client.request("call", call({"tool": "stall", "timeout_s": 0.03})))
        assert (error.kind, error.details) == ("tool_error", {"tool": "stall", "kind": "timeout"})
        await ended.wait()


async def test_a_client_without_tools_is_never_asked(connect: Connect) -> None:
    async with connect() as link:
        await link.client.ready()
        assert (await error_of(link.client.request("call", call({"tool": "add"})))).kind == "tool_error"
