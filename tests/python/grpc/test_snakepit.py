"""Workers that Snakepit starts, watches and kills; the other side here is `snakepit_client`."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
import snakepit_client as snakepit
from google.protobuf.any_pb2 import Any as AnyMessage
from links import PROGRAM, TokenClient

from python_bridge._proto import snakepit_bridge_pb2 as pb
from python_bridge.settings import SettingsError
from python_bridge.worker.snakepit import load_programs

pytestmark = [pytest.mark.anyio, pytest.mark.req("TC1")]
pooled = snakepit.pooled


def script(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(steps)}}


def token(text: str) -> dict[str, Any]:
    return {"emit": {"type": "token", "field": "answer", "text": text, "last": False}}


def about(pid: int, name: str) -> str:
    """What the system tells of a process; nothing when there is none."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def is_there(path: str) -> bool:
    return os.path.exists(path)


async def gone(pid: int) -> None:
    """Wait for the end of a process; a zombie of a container without init counts as ended."""
    while (state := about(pid, "stat").rpartition(")")[2].split()) and state[0] not in "ZX":  # noqa: ASYNC110 - a process that is no child gives no event
        await asyncio.sleep(0.01)


async def test_a_worker_lives_as_snakepit_wants_it_and_ends_with_0_on_sigterm(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        await worker.join()
        assert (await worker.execute("call", **script({"answer": 3})))["outputs"] == {"answer": 3}
        pid = (await worker.execute("bridge.endpoint"))["pid"]
        assert await worker.stop() == 0
        await gone(pid)
        assert len(os.listdir(tmp_path)) == 1, "nothing is left beside the ready file"


@pytest.mark.parametrize("how", ["stopped", "blocked"])
async def test_heartbeats_are_answered_while_the_worker_process_cannot_run(tmp_path: Path, how: str) -> None:
    async with pooled(tmp_path, "--drain-ms", "100") as worker:
        await worker.join()
        pid = (await worker.execute("bridge.endpoint"))["pid"]
        await worker.execute("call", **script())
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
        block = worker.asked("call", script({"block_ms": 30_000}))
        call = worker.stub.ExecuteTool(block)
        for _ in range(5):
            assert (await worker.heartbeat()).session_valid
            assert await worker.stub.Ping(pb.PingRequest(message="ping"), timeout=10)
        assert not call.done()
        assert await worker.stop() == 0
        await gone(pid)


async def test_the_end_of_standard_input_ends_the_worker_at_once_but_not_with_0(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        pid = (await worker.execute("bridge.endpoint"))["pid"]
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert await worker.process.wait() == 1
        await gone(pid)


async def test_sigkill_takes_the_worker_process_along_and_its_folder_goes_with_the_next_worker(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        end = await worker.execute("bridge.endpoint")
        worker.process.kill()
        await worker.process.wait()
        await gone(end["pid"])
    folder = os.path.dirname(end["address"].removeprefix("unix:"))
    assert is_there(folder)
    async with pooled(tmp_path):
        while is_there(folder):  # noqa: ASYNC110 - a folder gives no event
            await asyncio.sleep(0.01)


async def test_a_worker_process_that_ends_fails_its_calls_and_ends_the_whole_but_not_with_0(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        told = await worker.error(worker.asked("call", script({"exit": 0})))
        assert told["type"] == "worker_lost"
        assert await worker.process.wait() == 70
        _, errors = await worker.process.communicate()
        assert "the worker process ended with status 0" in errors.decode()


async def test_a_program_may_print_lines_of_any_length(tmp_path: Path) -> None:
    def printed(pid: int) -> None:
        with open(f"/proc/{pid}/fd/1", "wb", buffering=0) as stdout:
            stdout.write(b"x" * 1_000_000 + b"\n" + b"the end of it\n")

    async with pooled(tmp_path) as worker:
        await worker.execute("echo", value=1)
        printing = asyncio.create_task(asyncio.to_thread(printed, (await worker.execute("bridge.endpoint"))["pid"]))
        seen = b""
        while not seen.endswith(b"the end of it\n"):
            more = await worker.process.stderr.read(65536)
            assert more
            seen = (seen + more)[-100:]
        await printing
        assert await worker.execute("echo", value=2) == 2


async def test_a_program_prints_on_when_its_log_is_gone(tmp_path: Path) -> None:
    def printed(pid: int) -> None:
        with open(f"/proc/{pid}/fd/1", "wb", buffering=0) as stdout:
            for _ in range(10):
                stdout.write(b"x\n" * 50_000)

    async with pooled(tmp_path) as worker:
        pid = (await worker.execute("bridge.endpoint"))["pid"]
        worker.process._transport.get_pipe_transport(2).close()  # type: ignore[attr-defined]
        await asyncio.to_thread(printed, pid)
        assert await worker.execute("echo", value=1) == 1


async def test_nothing_waits_for_a_log_that_nobody_reads(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        pid = (await worker.execute("bridge.endpoint"))["pid"]
        stdout = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
        written = 0
        with contextlib.suppress(BlockingIOError):
            while written < 10_000_000:
                written += os.write(stdout, b"x" * 65536)
                assert (await worker.heartbeat()).session_valid
        os.close(stdout)
        assert await worker.execute("echo", value=1) == 1


@pytest.mark.parametrize(
    ("flags", "environ", "told"),
    [
        ([], {"SNAKEPIT_READY_FILE": "/proc/no/such/ready"}, "SNAKEPIT_READY_FILE"),
        (["--port", "x"], {}, "--port"),
        (["--engine", "steam"], {}, "engine"),
        (["--programs-folder", "/no/such/folder"], {}, "--programs-folder"),
    ],
)
async def test_a_failed_start_says_why_and_does_not_end_with_0(
    tmp_path: Path, flags: list[str], environ: dict[str, str], told: str
) -> None:
    script_path = str(snakepit.SNAKEPIT_SCRIPT)
    command = [sys.executable, script_path, *snakepit.arguments(1), *flags]
    process = await snakepit.start(tmp_path / "ready", command, **environ)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert told in errors.decode()
    assert "Traceback" not in errors.decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "holds no program"),
        ("{", "one"),
        ('{"signature": {"fields": [{"role": "input"}]}}', "a field in its signature"),
        ('{"signature": {"fields": ["q"]}}', "a field in its signature"),
        ('{"signature": {"fields": [{"role": "input", "name": 5}]}}', "a field in its signature"),
        ('{"signature": "\\ud800 -> a"}', "lone surrogates"),
    ],
)
def test_a_registered_program_that_can_be_no_tool_is_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_programs(tmp_path)


async def test_an_engine_that_cannot_be_loaded_ends_the_worker_with_78(tmp_path: Path) -> None:
    async with pooled(tmp_path, "--default-lm", "unavailable") as worker:
        assert await worker.process.wait() == 78


async def test_unknown_flags_are_passed_over(tmp_path: Path) -> None:
    flags = ("--snakepit-colour", "red", "--snakepit-new", "--snakepit-size=3")
    async with pooled(tmp_path, *flags) as worker:
        await worker.join()


async def test_the_command_shows_the_name_of_the_script_to_snakepits_cleanup(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "python_bridge", "snakepit-worker", *snakepit.arguments(1)]
    process = await snakepit.start(tmp_path / "ready", command)
    try:
        await snakepit.port_of(tmp_path / "ready", process)
        shown = about(process.pid, "cmdline").split("\0")
        assert any("grpc_server.py" in argument for argument in shown)
        assert {"k3j2h1g", "pool_worker_1", "t0"} <= set(shown)
        assert "python" in about(process.pid, "comm")
    finally:
        process.kill()
        await process.communicate()


async def test_two_workers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    async with pooled(tmp_path) as one, pooled(tmp_path) as other:
        ends = [await worker.execute("bridge.endpoint") for worker in (one, other)]
        assert len({end["address"] for end in ends}) == len({end["token"] for end in ends}) == 2
        assert one.port != other.port


@pytest.mark.req("FR2.2.1")
async def test_values_keep_their_kind_both_ways(tmp_path: Path) -> None:
    value = {"int": 3, "large": 2**70, "null": None, "float": 1.5, "nested": [{"a": []}, "ü"], "true": True}
    async with pooled(tmp_path) as worker:
        back = await worker.execute("echo", value=value)
        assert back == value
        assert type(back["int"]) is int
        tagged = {"$type": "bytes", "base64": "AAE="}
        assert await worker.execute("echo", value={"some": tagged}) == {"some": tagged}
        request = worker.asked("echo", {}, {"value": bytes(range(256))})
        response = await worker.stub.ExecuteTool(request)
        assert (response.success, response.binary_result) == (True, bytes(range(256)))
        assert response.result.value == b""


@pytest.mark.parametrize(
    ("tool", "parameters", "kind", "told"),
    [
        ("no.such", {}, "not_found", "predict"),
        ("initialize", {}, "not_found", "initialize"),
        ("echo", {"value": AnyMessage(value=b"not JSON")}, "invalid_request", "value"),
        ("echo", {"value": AnyMessage(value=b"NaN")}, "invalid_request", "NaN"),
        ("echo", {"value": AnyMessage(value=b"\xff")}, "invalid_request", "value"),
        ("echo", {"value": AnyMessage(value=b"[" * 100_000)}, "invalid_request", "value"),
        ("echo", {"value": AnyMessage()}, "invalid_request", "value"),
        ("echo", {"colour": snakepit.any_of(1)}, "invalid_request", "colour"),
        ("predict", {"inputs": snakepit.any_of({})}, "invalid_request", "signature"),
        ("call", {"inputs": snakepit.any_of({})}, "invalid_request", "program"),
        ("call", {"inputs": snakepit.any_of({}), "program": snakepit.any_of("none")}, "not_found", "none"),
        ("call", {"inputs": snakepit.any_of(3), "program": snakepit.any_of(PROGRAM)}, "invalid_request", "inputs"),
        ("session.open", {"lm": snakepit.any_of(3)}, "invalid_request", "lm"),
    ],
)
async def test_what_is_wrong_is_an_error_that_snakepit_can_map_and_the_next_call_works(
    tmp_path: Path, tool: str, parameters: dict[str, AnyMessage], kind: str, told: str
) -> None:
    async with pooled(tmp_path) as worker:
        error = await worker.error(pb.ExecuteToolRequest(tool_name=tool, parameters=parameters))
        assert error["type"] == kind
        assert told in error["message"]
        assert error["context"]["tool"] == tool
        assert await worker.execute("echo", value=1) == 1


@pytest.mark.req("FR2.2.4")
async def test_a_stream_gives_its_events_and_then_the_final_chunk(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        steps = [token(str(number)) for number in range(100)]
        request = worker.asked("stream", script(*steps, {"answer": 5}))
        chunks = [chunk async for chunk in worker.stub.ExecuteStreamingTool(request)]
        assert [json.loads(chunk.data)["text"] for chunk in chunks[:-1]] == [str(number) for number in range(100)]
        assert [chunk.is_final for chunk in chunks] == [False] * 100 + [True]
        assert json.loads(chunks[-1].data)["outputs"] == {"answer": 5}
        assert len({chunk.chunk_id for chunk in chunks}) == 101
        once = [chunk async for chunk in worker.stub.ExecuteStreamingTool(worker.asked("echo", {"value": 1}))]
        assert [(json.loads(chunk.data), chunk.is_final) for chunk in once] == [({"value": 1}, True)]


async def test_an_error_in_a_stream_aborts_it_with_the_error_as_details(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        step = {"raise": "lm_error", "message": "no luck", "details": {"status": 429}}
        stream = worker.stub.ExecuteStreamingTool(worker.asked("stream", script(token("a"), step)))
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        told = json.loads(caught.value.details() or "")
        assert (told["type"], told["message"], told["context"]["details"]) == ("lm_error", "no luck", {"status": 429})


async def timed_out(call: Any) -> bool:
    """Whether a call ran into its deadline: gRPC tells, or the worker was faster."""
    try:
        response = await call
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    return json.loads(response.error_message)["type"] == "timeout"


async def in_flight(worker: snakepit.Pooled, wanted: int) -> None:
    while (await worker.execute("worker/status"))["in_flight"] != wanted:
        pass


async def test_work_ends_when_it_is_cancelled_or_its_deadline_passes_or_the_client_is_gone(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        request = worker.asked("stream", script(token("a"), {"stall": True}))
        stream = worker.stub.ExecuteStreamingTool(request)
        await stream.read()
        await in_flight(worker, 1)
        stream.cancel()
        await in_flight(worker, 0)
        for seconds in (0, 0.2):
            assert await timed_out(worker.stub.ExecuteTool(request, timeout=seconds))
            await in_flight(worker, 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{worker.port}") as channel:
            await type(worker.stub)(channel).ExecuteStreamingTool(request).read()
        await in_flight(worker, 0)


async def test_a_message_above_the_limit_is_refused_and_the_next_call_works(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        request = pb.ExecuteToolRequest(tool_name="echo", binary_parameters={"value": bytes(101 * 1024 * 1024)})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.stub.ExecuteTool(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await worker.execute("echo", value=1) == 1


async def events_of(telemetry: Any, count: int, about: str) -> list[Any]:
    """The next events whose names begin with one of the words of `about`."""
    found: list[Any] = []
    while len(found) < count:
        event = await telemetry.read()
        if ".".join(event.event_parts).startswith(tuple(about.split())):
            found.append(event)
    return found


@pytest.mark.req("NFR5.2.4")
async def test_telemetry_tells_of_tools_in_names_that_snakepit_takes_and_obeys(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        telemetry = await worker.join()
        asked = worker.asked("echo", {"value": 1})
        asked.metadata["correlation_id"] = "c1"
        await worker.stub.ExecuteTool(asked)
        events = await events_of(telemetry, 5, "tool python.call")
        assert [".".join(event.event_parts) for event in events] == [
            "tool.execution.start",
            "python.call.start",
            "python.call.stop",
            "tool.result_size",
            "tool.execution.stop",
        ]
        assert {event.correlation_id for event in events} == {"c1"}
        assert events[3].measurements["message_size"].int_value == 1
        assert 0 < events[2].measurements["duration"].int_value < events[4].measurements["duration"].int_value
        await worker.error(worker.asked("call", script({"raise": "lm_error", "message": "no luck"})))
        (error,) = await events_of(telemetry, 1, "python.error.occurred")
        assert (error.metadata["tool"], error.metadata["error_type"]) == ("call", "lm_error")
        deny = pb.TelemetryEventFilter(deny=["tool.execution.*", "python.*"])
        await telemetry.write(pb.TelemetryControl(filter=deny))
        await worker.error(worker.asked("no.such", {}))
        names = []
        while names[-2:] != ["tool.result_size"] * 2:
            await worker.execute("echo", value=1)
            names.append(".".join((await telemetry.read()).event_parts))
        telemetry.cancel()


@pytest.mark.req("NFR5.2.4")
async def test_telemetry_tells_what_the_worker_process_needs(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        telemetry = await worker.join()
        (event,) = await events_of(telemetry, 1, "python.memory.sampled")
        assert event.measurements["rss_bytes"].int_value > 1_000_000
        telemetry.cancel()


async def test_tools_of_elixir_are_called_by_programs_and_ours_are_registered_with_the_beam(tmp_path: Path) -> None:
    async def add(session: str, arguments: dict[str, Any]) -> Any:
        return {"session": session, "sum": arguments["a"] + arguments["b"]}

    async def fail(session: str, arguments: dict[str, Any]) -> Any:
        raise ValueError("no such city")

    async with pooled(tmp_path, tools={"add": add, "fail": fail}) as worker:
        await worker.join()
        told = await worker.beam.registered
        assert (told.session_id, told.worker_id) == (worker.session, f"pool_worker_1-{worker.process.pid}")
        assert {"predict", "bridge.endpoint", "session.open"} <= {tool.name for tool in told.tools}
        step = {"tool": "add", "arguments": {"a": 1, "b": 2}}
        answer = await worker.execute("call", **script(step))
        assert answer["outputs"]["tools"] == [{"session": worker.session, "sum": 3}]
        worker.beam.sessions.clear()  # as one forgets a session that nobody used for an hour
        assert (await worker.execute("call", **script(step)))["outputs"] == answer["outputs"]
        error = await worker.error(worker.asked("call", script({"tool": "fail"})))
        assert (error["type"], "no such city" in error["message"]) == ("tool_error", True)


async def connected(worker: snakepit.Pooled, **options: Any) -> TokenClient:
    """A client of the worker's own connection."""
    end = await worker.execute("bridge.endpoint")
    loop = asyncio.get_running_loop()
    path = end["address"].removeprefix("unix:")
    _, client = await loop.create_unix_connection(lambda: TokenClient(**options), path)
    client.token = end["token"]
    hello = await client.ready()
    assert hello["worker_id"] == end["worker_id"]
    return client


async def test_the_endpoint_takes_many_calls_at_a_time_beside_snakepit(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        client = await connected(worker)
        answers = await asyncio.gather(*(client.request("call", script({"answer": n})) for n in range(100)))
        assert [answer["outputs"]["answer"] for answer in answers] == list(range(100))
        assert client.transport is not None
        client.transport.close()


@pytest.mark.req("NFR2.1.1")
async def test_sigterm_is_told_to_clients_of_the_endpoint_whose_calls_still_finish(tmp_path: Path) -> None:
    called, go = asyncio.Event(), asyncio.Event()

    async def wait(arguments: dict[str, Any]) -> Any:
        called.set()
        return await go.wait()

    async with pooled(tmp_path) as worker:
        client = await connected(worker, tools={"wait": wait})
        number = client.send("call", script({"tool": "wait"}, {"answer": 1}))
        await called.wait()
        worker.process.send_signal(signal.SIGTERM)
        assert (await client.notification("worker/draining"))["reason"] == "shutdown"
        go.set()
        assert (await client.response(number))["outputs"]["answer"] == 1
        assert await worker.process.wait() == 0


async def test_registered_programs_are_tools_by_name_whose_parameters_are_described(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "triage.json").write_text(json.dumps({"kind": "scripted", "signature": "script: list, note -> answer"}))
    (folder / "predict.json").write_text(json.dumps({"kind": "scripted"}))
    async with pooled(tmp_path, "--programs-folder", str(folder)) as worker:
        await worker.join()
        parameters = {p.name: p.required for p in worker.available["triage"].parameters}
        assert parameters | {"script": True, "note": True, "lm": False, "session": False} == parameters
        assert {p.name for p in worker.available["predict"].parameters} >= {"signature", "inputs"}
        answer = await worker.execute("triage", script=[{"answer": "urgent"}], note="x")
        assert answer["outputs"] == {"answer": "urgent"}
        assert (await worker.error(worker.asked("triage", {"script": []})))["type"] == "invalid_request"
        named = await worker.execute("call", program="triage", inputs={"script": [{"answer": 1}]})
        assert named["outputs"] == {"answer": 1}


async def test_every_tool_that_is_told_of_describes_itself(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        await worker.join()
        expected = {"predict", "chain_of_thought", "call", "stream", "session.open", "bridge.endpoint", "lm.list"}
        assert expected <= set(worker.available)
        for name, spec in worker.available.items():
            assert spec.name == name
            assert spec.description
            assert all(p.name and p.type and p.description for p in spec.parameters)
        assert worker.available["stream"].supports_streaming


async def test_sessions_are_told_and_forgotten(tmp_path: Path) -> None:
    async with pooled(tmp_path) as worker:
        await worker.join()
        told = await worker.stub.GetSession(pb.GetSessionRequest(session_id=worker.session))
        assert (told.session_id, told.tool_count) == (worker.session, len(worker.available))
        cleaned = await worker.stub.CleanupSession(pb.CleanupSessionRequest(session_id=worker.session))
        assert (cleaned.success, cleaned.resources_cleaned) == (True, 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await worker.stub.GetSession(pb.GetSessionRequest(session_id=worker.session))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.req("FR1.1.1")
async def test_predict_answers_by_a_signature_with_dspy(tmp_path: Path) -> None:
    flags = ("--engine", "dspy", "--lm", "offline/extractive", "--store", f"sqlite:///{tmp_path}/sessions.db")
    async with pooled(tmp_path, *flags) as worker:
        await worker.join()
        inputs = {"context": "The capital of France is Paris.", "question": "What is the capital of France?"}
        answer = await worker.execute("predict", signature="context, question -> answer", inputs=inputs)
        assert "Paris" in answer["outputs"]["answer"]
        session = (await worker.execute("session.open"))["session"]
        await worker.execute("predict", signature="context, question -> answer", inputs=inputs, session=session)
        assert len((await worker.execute("session.history", session=session))["entries"]) == 1
