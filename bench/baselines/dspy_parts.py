"""What DSPy and Python's own libraries take for the parts that Elixir does natively, in one process without I/O.

The packet is `{"part": …, "count": n, …}` with the part's own members; the answer is the microseconds that each of
`count` calls took. The part `cached` looks one signature up and answers at once, for measuring the round trip to it.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import dspy
import jsonschema
from dspy.evaluate import metrics
from pydantic import TypeAdapter

# Its metaclass reads the text, which type checkers can't see.
SIGNATURE: Any = dspy.Signature
ADAPTER = dspy.ChatAdapter()
SIGNATURES: dict[str, Any] = {}


def read_packet() -> dict[str, Any]:
    head = sys.stdin.buffer.read(4)
    if len(head) < 4:
        os._exit(0)
    return json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big")))


def write_packet(value: Any) -> None:
    body = json.dumps(value).encode()
    sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body)
    sys.stdout.buffer.flush()


def signature(text: str) -> Any:
    if text not in SIGNATURES:
        SIGNATURES[text] = SIGNATURE(text)
    return SIGNATURES[text]


def work(order: dict[str, Any]) -> Callable[[], Any]:
    """Return the call to measure; what Python would have at hand already is made before."""
    match order["part"]:
        case "signature":
            return partial(SIGNATURE, order["signature"])
        case "format":
            return partial(ADAPTER.format, signature(order["signature"]), [], order["inputs"])
        case "parse":
            return partial(ADAPTER.parse, signature(order["signature"]), order["completion"])
        case "validate":
            fields = signature(order["signature"]).output_fields
            adapters = {name: TypeAdapter(field.annotation) for name, field in fields.items()}
            values = order["values"]
            return lambda: {name: adapter.validate_python(values[name]) for name, adapter in adapters.items()}
        case "f1":
            return partial(metrics.F1, order["prediction"], order["answers"])
        case "schema":
            return partial(jsonschema.Draft202012Validator(order["schema"]).is_valid, order["values"])
        case part:
            raise ValueError(f"{part} is no part; see the module's text")


def measure(order: dict[str, Any]) -> list[float]:
    call = work(order)
    samples = []
    for _ in range(order["count"]):
        started = time.perf_counter()
        call()
        samples.append((time.perf_counter() - started) * 1e6)
    return samples


def main() -> None:
    while True:
        order = read_packet()
        if order["part"] == "cached":
            write_packet(list(signature(order["signature"]).output_fields))
        else:
            write_packet(measure(order))


if __name__ == "__main__":
    main()
