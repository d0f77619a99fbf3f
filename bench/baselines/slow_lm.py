"""An OpenAI-compatible server that does next to nothing: answers come 100 ms after their requests.

Streams begin at once. The tokens of a stream are the times (ns since 1970) at which they were written, 4 ms apart; or,
where the question says `burst`, 200 of them at once. `GET /v1/cut` waits for a stream that loses its reader, and gives
the time (ns since 1970) at which it did. It prints its address and ends with its input.
"""

import asyncio
import json
import os
import sys
import time

DELAY_S, PACE_S, TOKENS = 0.1, 0.004, 200
ANSWER = "[[ ## answer ## ]]\nfine\n\n[[ ## completed ## ]]"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def completion() -> bytes:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "x", "choices": [choice], "usage": USAGE}
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(text) + text


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "x", "choices": [choice]}
    data = b"data: " + json.dumps(body).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def plain(text: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(text) + text.encode()


class Server(asyncio.Protocol):
    """One connection; requests come one after the other."""

    cuts: asyncio.Queue[int]
    task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET "):
            self.data, self.task = rest, asyncio.get_running_loop().create_task(self.cut())
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(rest) < length:
            return
        self.data = rest[length:]
        body = json.loads(rest[:length])
        loop = asyncio.get_running_loop()
        if body.get("stream"):
            self.task = loop.create_task(self.stream("burst" in json.dumps(body["messages"][-1])))
        else:
            loop.call_later(DELAY_S, self.transport.write, completion())

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None and not self.task.done():
            self.task.cancel()
            self.cuts.put_nowait(time.time_ns())

    async def cut(self) -> None:
        self.transport.write(plain(str(await self.cuts.get())))

    async def stream(self, burst: bool) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.transport.write(head + event("[[ ## answer ## ]]\n"))
        for _ in range(TOKENS):
            if not burst:
                await asyncio.sleep(PACE_S)
            self.transport.write(event(f"{time.time_ns()} "))
        end = event("\n\n[[ ## completed ## ]]") + event("", "stop")
        self.transport.write(end + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def main() -> None:
    loop = asyncio.get_running_loop()
    Server.cuts = asyncio.Queue()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=1024)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1".encode()
    sys.stdout.buffer.write(len(address).to_bytes(4, "big") + address)
    sys.stdout.buffer.flush()
    ended = asyncio.Event()
    loop.add_reader(0, lambda: None if os.read(0, 4096) else ended.set())
    await ended.wait()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
