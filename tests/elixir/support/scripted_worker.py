"""A worker for tests of clients: speaks protocol 1 on stdin and stdout, and misbehaves as its first argument says."""

import json
import os
import signal
import struct
import sys
import threading

FAULT = sys.argv[1] if len(sys.argv) > 1 else "none"
LOCK = threading.Lock()


def write(body: bytes) -> None:
    with LOCK:
        os.write(1, struct.pack(">I", len(body)) + body)


def send(message: dict) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode())


def read_exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def initialize(request: int) -> None:
    if FAULT == "dies in handshake":
        sys.exit(3)
    if FAULT == "garbage at start":
        os.write(1, b"Welcome to this program!\n")
    info = {
        "protocol_version": 2 if FAULT == "another version" else 1,
        "server": {"name": "scripted", "version": "0"},
        "worker_id": "s1",
        "pid": os.getpid(),
    }
    limits = {"max_frame_bytes": 1 << 26, "max_in_flight": 64, "max_queue": 64, "max_depth": 64}
    send({"id": request, "result": {**info, "limits": limits, "operations": [], "features": []}})
    if FAULT != "never ready":
        send({"method": "ready", "params": {"dspy": {"version": "0"}, "features": [], "boot_ms": 1}})


def event(request: int, seq: int) -> None:
    token = {"type": "token", "field": "answer", "text": "a", "last": False}
    send({"method": "stream/event", "params": {"id": request, "seq": seq, "event": token}})


def call(request: int, inputs: dict) -> None:
    question = inputs.get("question")
    if question == "hold":
        return
    if question == "hold the stream":
        event(request, 0)
        return
    if question == "flood":
        for seq in range(1_000):
            event(request, seq)
        return
    if question == "twice":
        send({"id": request, "result": {"outputs": {"answer": "once"}}})
    if question == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if question == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if question == "exit":
        sys.exit(4)
    if question == "garbage":
        os.write(1, b"Segmentation fault (core dumped)\n")
        return
    if question == "environment":
        answer = os.environ.get("SCRIPTED", "") + " " + os.environ.get("DSPEX_LM", "") + " " + os.getcwd()
    else:
        answer = str(os.getpid())
    outputs = {"outputs": {"answer": answer}, "usage": {}, "cost": None, "meta": {"worker": "s1"}}
    send({"id": request, "result": outputs})


def main() -> None:
    while True:
        message = json.loads(read_exactly(struct.unpack(">I", read_exactly(4))[0]))
        method, request, params = message.get("method"), message.get("id"), message.get("params", {})
        if method == "initialize":
            initialize(request)
        elif method == "program.put":
            send({"id": request, "result": {"module": "0" * 64}})
        elif method == "module.call":
            call(request, params["inputs"])
        elif method == "$/cancelRequest":
            error = {"code": -32012, "message": "cancelled", "data": {"kind": "cancelled"}}
            send({"id": params["id"], "error": error})
        elif method == "echo":
            send({"id": request, "result": {"value": params["value"]}})
        elif method == "shutdown":
            send({"id": request, "result": {}})
            if FAULT != "ignores shutdown":
                sys.exit(0)
        elif request is not None:
            send({"id": request, "result": {}})


main()
