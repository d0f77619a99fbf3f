"""P16: a call within a session against one without, 64 in flight over two worker processes that share a store."""

import asyncio
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "python")]

from links import python_process  # noqa: E402

from python_bridge.testing.client import BridgeClient  # noqa: E402

PROGRAM = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
INPUTS = {"context": "The mill is red. The barn is green.", "question": "How is the barn?"}
WORKERS, LANES, CALLS, ROUNDS = 2, 64, 10, 12


async def connect(stack: AsyncExitStack, store: str) -> BridgeClient:
    client = BridgeClient()
    arguments = ("-m", "python_bridge", "worker", "--lm=offline/extractive", f"--store=sqlite:///{store}")
    await stack.enter_async_context(python_process(client, *arguments, patience_s=600))
    await client.ready()
    return client


async def measure(clients: list[BridgeClient], module: str, *, within_sessions: bool) -> float:
    """Return the microseconds that one call takes."""

    async def lane(number: int) -> None:
        client = clients[number % WORKERS]
        meta: dict[str, Any] = {"session": f"s{number}", "within": []} if within_sessions else {}
        for _ in range(CALLS):
            await client.request("module.call", {"module": module, "inputs": INPUTS}, **meta)

    started = time.perf_counter()
    await asyncio.gather(*(lane(number) for number in range(LANES)))
    return (time.perf_counter() - started) * 1e6 / (LANES * CALLS)


async def main() -> None:
    samples: list[float] = []
    baseline: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            clients = [await connect(stack, f"{folder}/bench.db") for _ in range(WORKERS)]
            modules = [(await client.request("program.put", {"program": PROGRAM}))["module"] for client in clients]
            for number in range(LANES):
                await clients[number % WORKERS].request("session.open", {"session": f"s{number}"})
            for round_ in range(-1, ROUNDS):
                pair = [await measure(clients, modules[0], within_sessions=within) for within in (False, True)]
                if round_ >= 0:  # the first one warms up
                    baseline.append(pair[0])
                    samples.append(pair[1])
    name = "session call over stateless call, two workers"
    report = {"id": "P16", "name": name, "unit": "us", "goal": "ratio <= 1.3", "samples": samples, "baseline": baseline}
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
