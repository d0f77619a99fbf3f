"""The same `acall` in one Python process: answers each packet (a count) with the microseconds that each call took.

Its LM is the embedded one, or the model and address of its arguments. The packet is `{"count": n, "concurrent": m,
"inputs": {…}, "signature": "…"}`; with `concurrent` above 1 the answer is the one number of microseconds that all took.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any


def read_packet() -> dict[str, Any]:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        sys.exit(0)
    return json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))


def write_packet(value: Any) -> None:
    body = json.dumps(value).encode()
    sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body)
    sys.stdout.buffer.flush()


async def measure(order: dict[str, Any]) -> list[float]:
    import dspy

    predict = dspy.Predict(order["signature"])
    inputs, concurrent = order["inputs"], order.get("concurrent", 1)
    if concurrent > 1:
        return [await _together(predict, inputs, order["count"], concurrent)]
    samples = []
    for _ in range(order["count"]):
        started = time.perf_counter()
        await predict.acall(**inputs)
        samples.append((time.perf_counter() - started) * 1e6)
    return samples


async def _together(predict: Any, inputs: dict[str, Any], count: int, concurrent: int) -> float:
    left = iter(range(count))

    async def one_caller() -> None:
        for _ in left:
            await predict.acall(**inputs)

    started = time.perf_counter()
    await asyncio.gather(*(one_caller() for _ in range(concurrent)))
    return (time.perf_counter() - started) * 1e6


def main() -> None:
    import dspy

    from python_bridge.engine import offline

    lm = dspy.LM(sys.argv[1], api_base=sys.argv[2], api_key="any", cache=False) if sys.argv[1:] else None
    dspy.configure(lm=lm or offline.build(cache=False), adapter=dspy.ChatAdapter())
    try:
        while True:
            write_packet(asyncio.run(measure(read_packet())))
    except SystemExit:
        os._exit(0)  # threads of dspy may still wait


if __name__ == "__main__":
    main()
