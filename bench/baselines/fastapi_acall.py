"""DSPy behind FastAPI with `acall`, under uvicorn in a process of its own, asked over connections that stay open.

Answers each packet `{"count": n, "concurrent": m, "inputs": {…}, "signature": "…"}` with the microseconds of all.
With the argument `serve` it is the server, on the socket whose descriptor is the next argument.
"""

import asyncio
import json
import socket
import subprocess
import sys
import time
from typing import Any

from acall import read_packet, write_packet


def serve(descriptor: int) -> None:
    import dspy
    import uvicorn
    from fastapi import FastAPI

    from python_bridge.engine import offline

    dspy.configure(lm=offline.build(cache=False), adapter=dspy.ChatAdapter())
    app = FastAPI()
    predicts: dict[str, dspy.Predict] = {}

    @app.post("/predict")
    async def predict(order: dict[str, Any]) -> dict[str, Any]:
        signature = order["signature"]
        program = predicts.get(signature) or predicts.setdefault(signature, dspy.Predict(signature))
        return (await program.acall(**order["inputs"])).toDict()

    uvicorn.run(app, fd=descriptor, log_level="error", access_log=False)


async def measure(port: int, order: dict[str, Any]) -> float:
    body = json.dumps({"signature": order["signature"], "inputs": order["inputs"]}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    left = iter(range(order["count"]))

    async def lane() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the baseline refused: {answer[:80]!r}")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(order["concurrent"])))
    return (time.perf_counter() - started) * 1e6


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
        return
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    command = [sys.executable, __file__, "serve", str(listener.fileno())]
    server = subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while True:
            write_packet([asyncio.run(measure(listener.getsockname()[1], read_packet()))])
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
