"""A running server of the REST API, clients of it, and a peer that answers what a test wrote down."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from python_bridge.client import Client
from tests.python.http.conftest import TOKEN, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, TOKEN, timeout=30) as connected:
        yield connected


class ScriptedPeer:
    """An HTTP server of one connection at a time that gives one scripted answer to each, then closes it.

    An empty answer closes the connection after the request was read.

    Attributes:
        seen: the requests as they came, heads with lower-case names and bodies.
    """

    def __init__(self, *answers: bytes) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends an accept that still waits
        self._listener.close()
        self._thread.join(30)

    def _run(self) -> None:
        for answer in self._answers:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reader:
                first = reader.readline()
                head = {":": first.decode()}
                while line := reader.readline().strip().decode():
                    name, _, value = line.partition(":")
                    head[name.lower()] = value.strip()
                self.seen.append((head, reader.read(int(head.get("content-length", "0")))))
                connection.sendall(answer)


def answer(status: int, body: str, *headers: str, kind: str = "application/json") -> bytes:
    """An HTTP answer as bytes."""
    sent = body.encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(sent)}", "Connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + sent
