"""DSPy behind FastAPI with `acall`, under uvicorn in a process of its own, asked over connections that stay open.

Answers each packet `{"count": n, "concurrent": m, "inputs": {…}, "signature": "…"}` with the microseconds of all.
With the argument `serve` it is the server, on the socket whose descriptor is the next argument.
"""

import asyncio
import socket
import subprocess
import sys
from typing import Any

from acall import read_packet, write_packet
from http_load import measure


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

    # With `fd=` uvicorn takes the socket for none of TCP's, and leaves answers to Nagle's algorithm: 40 ms each.
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    server.run(sockets=[socket.socket(fileno=descriptor)])


async def ask(port: int, order: dict[str, Any]) -> float:
    payload = {"signature": order["signature"], "inputs": order["inputs"]}
    return await measure(port, "/predict", payload, order["count"], order["concurrent"])


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
        return
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    command = [sys.executable, __file__, "serve", str(listener.fileno())]
    server = subprocess.Popen(command, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while True:
            write_packet([asyncio.run(ask(listener.getsockname()[1], read_packet()))])
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
