"""DSPy behind `mlflow models serve`, as MLflow's own guide deploys it, asked over connections that stay open.

Answers each packet `{"count": n, "concurrent": m, "inputs": {…}, "signature": "…"}` with the microseconds of all. The
model is of the first packet's signature, and as many processes serve it as its `workers` says (1).
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from acall import read_packet, write_packet
from http_load import measure

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 120.0
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def save(signature: str, path: Path) -> None:
    import dspy
    import mlflow

    from python_bridge.engine import offline

    mlflow.set_tracking_uri(f"sqlite:///{path.parent}/mlflow.db")
    dspy.configure(lm=offline.build(cache=False), adapter=dspy.ChatAdapter())
    mlflow.dspy.save_model(dspy.Predict(signature), str(path), pip_requirements=[])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def serve(model: Path, port: int, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port), "-w", str(workers)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return server
        except OSError:
            time.sleep(0.1)
    stop(server)
    raise SystemExit("mlflow models serve did not start")


def stop(server: subprocess.Popen[bytes]) -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def main() -> None:
    order = read_packet()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        save(order["signature"], model)
        port = free_port()
        server = serve(model, port, order.get("workers", 1))
        try:
            while True:
                payload = {"inputs": order["inputs"]}
                work = measure(port, "/invocations", payload, order["count"], order["concurrent"])
                write_packet([asyncio.run(work)])
                order = read_packet()
        finally:
            stop(server)


if __name__ == "__main__":
    main()
