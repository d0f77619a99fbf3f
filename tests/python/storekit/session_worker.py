"""A process that owns sessions, as a worker does, and can be killed: requests come in on a pipe, answers go out."""

import asyncio
import json
import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.limits import SessionSettings
from python_bridge.services.sessions.manager import Ref, SessionManager
from python_bridge.services.sessions.state import SessionState
from python_bridge.store.sessions import SessionStore
from python_bridge.store.settings import StoreSettings
from python_bridge.store.store import Store

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["storekit.session_worker", "sqlalchemy.dialects.sqlite", "psycopg"])


class WorkerLost(Exception):
    """The process ended before it answered."""


class SessionWorker:
    """The test's end: starts the process, sends requests, and kills it."""

    def __init__(self, url: str) -> None:
        self._here, there = _context.Pipe()
        self._process = _context.Process(target=_main, args=(url, there), daemon=True)
        self._process.start()
        there.close()
        self.pid = self._process.pid or 0
        self.started: dict[int, asyncio.Event] = {}
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._here.fileno(), self._read)

    async def update(self, session: str, number: int, key: str | None = None, wait_s: float = 0.0) -> int:
        """Add `number` to a session's list and history; return how long the list is then."""
        self._next_id += 1
        request = {"id": self._next_id, "session": session, "number": number, "key": key, "wait_s": wait_s}
        future = self._answers[self._next_id] = self._loop.create_future()
        self.started[self._next_id] = asyncio.Event()
        try:
            self._here.send_bytes(json.dumps(request).encode())
        except OSError:
            raise WorkerLost from None
        answer = await future
        if "error" in answer:
            raise BridgeError.from_object(answer["error"])
        return int(answer["result"])

    async def kill(self) -> None:
        """End the process by SIGKILL and reap it."""
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        self._lose()

    def _read(self) -> None:
        try:
            message = json.loads(self._here.recv_bytes())
        except (EOFError, OSError):
            self._lose()
            return
        if "started" in message:
            self.started[message["started"]].set()
        elif (future := self._answers.pop(message["id"], None)) is not None and not future.done():
            future.set_result(message)

    def _lose(self) -> None:
        if not self._here.closed:
            self._loop.remove_reader(self._here.fileno())
            self._here.close()
        for future in self._answers.values():
            if not future.done():
                future.set_exception(WorkerLost())
        self._answers.clear()


def _main(url: str, pipe: Connection) -> None:
    asyncio.run(_serve(url, pipe))


async def _serve(url: str, pipe: Connection) -> None:
    store = await Store.open(StoreSettings(url=url, lock_timeout_s=60))
    manager = SessionManager(SessionStore(store), SessionSettings(), owner="test worker")
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    ended = loop.create_future()

    def read() -> None:
        try:
            request = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            ended.set_result(None)
            return
        task = loop.create_task(_answer(manager, pipe, request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_reader(pipe.fileno(), read)
    await ended


async def _answer(manager: SessionManager, pipe: Connection, request: dict[str, Any]) -> None:
    number = request["number"]

    async def work(state: SessionState) -> tuple[SessionState, Any]:
        pipe.send_bytes(json.dumps({"started": request["id"]}).encode())
        await asyncio.sleep(request["wait_s"])
        seen = [*state.variables.get("seen", []), number]
        return state.with_variables({"seen": seen}).with_entry({"number": number}, f'{{"number":{number}}}'), len(seen)

    try:
        ref = Ref("t", request["session"], request["key"], f"update {number}")
        answer = {"id": request["id"], "result": await manager.run(ref, work)}
    except BridgeError as error:
        answer = {"id": request["id"], "error": error.to_object()}
    pipe.send_bytes(json.dumps(answer).encode())
