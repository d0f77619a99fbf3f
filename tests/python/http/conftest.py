"""A server of the REST API over real sockets, with scripted LMs."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from python_bridge.settings import Settings
from python_bridge.testing import ScriptedLM
from python_bridge.transports.http.app import create_app, make_api
from python_bridge.transports.http.serve import make_config
from python_bridge.transports.http.settings import HttpSettings, hash_token

TOKEN = "a-secret-token"
PROGRAMS: dict[str, Any] = {
    "qa": {"format": 1, "kind": "predict", "signature": "question -> answer"},
    "typed": {"format": 1, "kind": "chain_of_thought", "signature": "question -> answer: int"},
}


class Server:
    """An application on a port of its own, in a thread of its own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        programs = folder / "programs"
        programs.mkdir(exist_ok=True)
        for name, program in PROGRAMS.items():
            (programs / f"{name}.json").write_text(json.dumps(program))
        self.lm = ScriptedLM(default={"answer": "42", "reasoning": "easy"})
        options.setdefault("token_hashes", (hash_token(TOKEN),))
        self.settings = HttpSettings(programs=str(programs), state=str(folder / "state"), **options)
        self.api = make_api(self.settings, Settings(), lms={"default": self.lm.lm})
        self._server = uvicorn.Server(make_config(create_app(self.api)))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=f"{self.url}/api/v1/dspy", headers=headers, timeout=30)

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as connected:
        yield connected
