"""Requests over connections that stay open, for the baselines that are HTTP servers."""

import asyncio
import json
import time
from typing import Any


async def measure(port: int, path: str, payload: Any, count: int, concurrent: int) -> float:
    """Return the microseconds that `count` posts of `payload` took over `concurrent` connections."""
    body = json.dumps(payload).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    left = iter(range(count))

    async def lane() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
            content = await reader.readexactly(int(length.partition(b":")[2]))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the baseline refused: {answer[:80]!r} {content[:200]!r}")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrent)))
    return (time.perf_counter() - started) * 1e6
