"""The OpenAI-compatible server as a process of its own."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from python_bridge.testing.openai_server import OpenAIServer


def run(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; prints one line of JSON (`port`, `base_url`) when it listens."""
    parser = argparse.ArgumentParser(prog="python -m python_bridge.testing.openai_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="the port is written here once the server listens")
    parser.add_argument("--token-env", help="name of the environment variable with the key that requests must bring")
    parser.add_argument(
        "--exit-on-eof", action="store_true", help="end when standard input ends, as with an Elixir port"
    )
    asyncio.run(_serve(parser.parse_args(arguments)))


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_on_eof:
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else stop.set())
    token = os.environ[options.token_env] if options.token_env else None
    async with OpenAIServer(token=token, host=options.host, port=options.port) as server:
        if options.port_file is not None:
            _write(options.port_file, str(server.port))
        sys.stdout.write(json.dumps({"port": server.port, "base_url": server.base_url}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _write(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


__all__ = ["run"]
