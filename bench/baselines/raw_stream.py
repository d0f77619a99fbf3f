"""A raw httpx reader of a stream: answers each packet (a question) with the microseconds of all and of each token."""

import json
import sys
import time

import httpx
from acall import write_packet


def ask(client: httpx.Client, url: str, question: str) -> list[float]:
    delays = []
    body = {"model": "x", "stream": True, "messages": [{"role": "user", "content": question}]}
    started = time.perf_counter()
    with client.stream("POST", f"{url}/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if not line.startswith("data: {"):
                continue
            now = time.time_ns()
            text = json.loads(line[6:])["choices"][0]["delta"]["content"]
            if text[:1].isdigit():
                delays.append((now - int(text)) / 1000)
    return [(time.perf_counter() - started) * 1e6, *delays]


def main() -> None:
    with httpx.Client(timeout=60) as client:
        while head := sys.stdin.buffer.read(4):
            write_packet(ask(client, sys.argv[1], sys.stdin.buffer.read(int.from_bytes(head, "big")).decode()))


if __name__ == "__main__":
    main()
