"""gRPC beside a bare grpc.aio echo, and beside frames on a Unix socket; a Snakepit worker to its ready file.

Server and baseline are processes of their own; the client is the same for both, and rounds take turns.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from python_bridge._proto import bridge_pb2 as pb
from python_bridge._proto.bridge_pb2_grpc import BridgeStub
from python_bridge.testing.client import BridgeClient
from python_bridge.transports.grpc import SNAKEPIT_SCRIPT

ROUNDS, CALLS, CALLERS, EVENTS, BOOTS = 7, 1_000, 32, 2_000, 7
TOKEN = "bench"
METADATA = (("authorization", f"Bearer {TOKEN}"),)
WORKER = ("-m", "python_bridge", "worker", "--engine", "scripted", "--listen")
DSPY_WORKER = ("-m", "python_bridge", "worker", "--lm", "offline/extractive", "--listen")
NO_LIMITS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
PARAMS = pb.Payload(data=b'{"value":1}', encoding=pb.ENCODING_JSON)
ECHO = pb.CallRequest(method="echo", params=PARAMS)
PREDICT = {
    "program": {"format": 1, "kind": "predict", "signature": "context, question -> answer"},
    "inputs": {"context": "Paris is the capital of France.", "question": "What is the capital of France?"},
}
EVENT = {"type": "token", "field": "answer", "text": "word", "last": False}


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[str]:
    """Run a server; give the address that it prints."""
    environ = {**os.environ, "DSPEX_TOKEN": TOKEN}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=pipe, env=environ)
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
    finally:
        process.kill()
        await process.wait()


async def rate(stub: Any, request: pb.CallRequest = ECHO) -> float:
    """Return calls a second of many callers."""

    async def caller() -> None:
        for _ in range(CALLS // CALLERS):
            await stub.Call(request, metadata=METADATA)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return CALLS // CALLERS * CALLERS / (time.perf_counter() - started)


async def stream_rate(stub: Any, request: pb.CallRequest) -> float:
    """Return events a second of one stream."""
    started, count = time.perf_counter(), 0
    async for _ in stub.Stream(request, metadata=METADATA):
        count += 1
    return count / (time.perf_counter() - started)


async def round_trip(ask: Callable[[], Awaitable[Any]], count: int = 200) -> float:
    """Return microseconds of one call after the other."""
    started = time.perf_counter()
    for _ in range(count):
        await ask()
    return (time.perf_counter() - started) / count * 1e6


def report(name: str, unit: str, samples: list[float], baseline: list[float] | None, goal: str, better: str) -> None:
    row = {"id": "P15", "name": name, "unit": unit, "samples": samples, "baseline": baseline, "goal": goal}
    print(json.dumps({**row, "better": better}), flush=True)


async def measure_calls() -> None:
    program = {"program": {"kind": "scripted"}, "inputs": {"script": [{"emit": EVENT}] * EVENTS}}
    ours_request = pb.CallRequest(method="call", params=pb.Payload(data=json.dumps(program).encode()))
    bare_request = pb.CallRequest(method=str(EVENTS), params=pb.Payload(data=json.dumps(EVENT).encode()))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            serving(*WORKER, "grpc:127.0.0.1:0") as ours,
            serving("-m", "bench.baselines.bare_grpc") as bare,
            serving(*WORKER, f"unix:{folder}/w.sock") as frames,
            grpc.aio.insecure_channel(ours.removeprefix("grpc:"), NO_LIMITS) as ours_channel,
            grpc.aio.insecure_channel(bare.removeprefix("grpc:")) as bare_channel,
        ):
            stubs = BridgeStub(ours_channel), BridgeStub(bare_channel)
            loop = asyncio.get_running_loop()
            path = frames.removeprefix("unix:")
            _, client = await loop.create_unix_connection(lambda: _Client(), path)
            await client.ready()
            await measure_all(stubs, client, (ours_request, bare_request))


class _Client(BridgeClient):
    async def initialize(self, **options: Any) -> dict[str, Any]:
        return await super().initialize(**{"token": TOKEN, **options})


async def measure_all(stubs: Any, client: BridgeClient, streams: Any) -> None:
    rates, chunks, trips, tables = [], [], [], []
    unary = ECHO
    table = pb.Payload(data=arrow_bytes(), encoding=pb.ENCODING_ARROW)
    large = pb.CallRequest(method="echo", params=table)
    for _ in range(ROUNDS + 1):
        rates.append([await rate(stub) for stub in stubs])
        chunks.append([await stream_rate(stub, request) for stub, request in zip(stubs, streams, strict=True)])
        over_grpc = await round_trip(lambda: stubs[0].Call(unary, metadata=METADATA))
        trips.append([await round_trip(lambda: client.request("echo", {"value": 1})), over_grpc])
        tables.append(await round_trip(lambda: stubs[0].Call(large, metadata=METADATA), 3) / 1000)
    both = [list(map(list, zip(*measured[1:], strict=True))) for measured in (rates, chunks, trips)]
    report("gRPC unary echo, 32 callers ÷ bare grpc.aio", "calls/s", *both[0], "ratio >= 0.85", "higher")
    report("gRPC stream, one client ÷ bare grpc.aio", "events/s", *both[1], "ratio >= 0.7", "higher")
    report("frames on a Unix socket ÷ gRPC, one call after the other", "us", *both[2], "ratio <= 0.125", "lower")
    report("Arrow table of 10 MB there and back by Call", "ms", tables[1:], None, "", "lower")


async def measure_predict() -> None:
    """One call after the other: what gRPC adds to a `Predict`, and what it is beside the same over frames."""
    request = pb.CallRequest(method="call", params=pb.Payload(data=json.dumps(PREDICT).encode()))
    with tempfile.TemporaryDirectory() as folder:
        async with (
            serving(*DSPY_WORKER, "grpc:127.0.0.1:0") as ours,
            serving(*DSPY_WORKER, f"unix:{folder}/w.sock") as frames,
            serving("-m", "bench.baselines.bare_grpc") as bare,
            grpc.aio.insecure_channel(ours.removeprefix("grpc:")) as ours_channel,
            grpc.aio.insecure_channel(bare.removeprefix("grpc:")) as bare_channel,
        ):
            stub, echo = BridgeStub(ours_channel), BridgeStub(bare_channel)
            loop = asyncio.get_running_loop()
            _, client = await loop.create_unix_connection(lambda: _Client(), frames.removeprefix("unix:"))
            await client.ready()
            trips: list[list[float]] = [[], [], []]
            for _ in range(ROUNDS + 1):
                trips[0].append(await round_trip(lambda: stub.Call(request, metadata=METADATA)))
                trips[1].append(await round_trip(lambda: client.request("call", PREDICT)))
                trips[2].append(await round_trip(lambda: echo.Call(ECHO, metadata=METADATA)))
    over_grpc, over_frames, bare_echo = (samples[1:] for samples in trips)
    report("Predict by Call ÷ over frames, one after the other", "us", over_grpc, over_frames, "", "lower")
    report("Predict by Call ÷ bare grpc.aio echo, one after the other", "us", over_grpc, bare_echo, "", "lower")


def arrow_bytes() -> bytes:
    """Return a table of 10 MB."""
    import numpy
    import pyarrow

    from python_bridge.wire.arrow import write_table

    return write_table(pyarrow.table({"x": numpy.arange(1_250_000, dtype="int64")}))


def boot(folder: Path, number: int) -> float:
    """Return milliseconds from the start of a Snakepit worker to its ready file."""
    ready = folder / f"ready-{number}"
    environ = {**os.environ, "SNAKEPIT_READY_FILE": str(ready), "DSPEX_LM": "offline/extractive"}
    started = time.perf_counter()
    command = [sys.executable, str(SNAKEPIT_SCRIPT), "--port", "0", "--snakepit-run-id", "bench"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environ) as process:
        while not ready.exists():
            time.sleep(0.001)
        elapsed = (time.perf_counter() - started) * 1000
        process.terminate()
    return elapsed


def main() -> None:
    asyncio.run(measure_calls())
    asyncio.run(measure_predict())
    with tempfile.TemporaryDirectory() as folder:
        boots = [boot(Path(folder), number) for number in range(BOOTS + 1)][1:]
    report("Snakepit worker: start to ready file", "ms", boots, None, "value <= 250", "lower")


if __name__ == "__main__":
    main()
