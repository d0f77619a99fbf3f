"""What the routes of the REST API share: the executor, places, jobs, the history."""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Receive

from python_bridge import __version__
from python_bridge.errors import BridgeError
from python_bridge.services.executor.batch import Progress
from python_bridge.services.executor.executor import DSPyPipelineExecutor
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.services.faults import to_bridge_error
from python_bridge.store.history import History
from python_bridge.transports.http import schemas
from python_bridge.transports.http.catalogue import Catalogue
from python_bridge.transports.http.disconnects import unless_gone
from python_bridge.transports.http.peers import Peers
from python_bridge.transports.http.problems import stopped
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.transports.http.shared import Shared
from python_bridge.transports.http.together import together
from python_bridge.wire.told import encode_told

PREFIX = "/api/v1/dspy"
_LOOK_S = 0.25
_STOP_S = 5.0
_AGAIN_S = 5.0
_PATIENCE_S = 5.0  # what a busy process does not tell would be missing in counts
_STOPPED = "the server was shut down; what was done until then is kept"

logger = logging.getLogger("python_bridge.http")


class Api:
    """What the routes share.

    Args:
        settings: limits of requests.
        executor: runs the programs; closed with the application.
        history: closed with the application.
        shared: what it shares with other processes behind the port.
        slot: which of these processes this one is.
    """

    def __init__(
        self,
        settings: HttpSettings,
        catalogue: Catalogue,
        executor: DSPyPipelineExecutor,
        history: History,
        shared: Shared | None = None,
        slot: int = 0,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.executor = executor
        self.history = history
        self.shared = shared
        self.peers = Peers(shared, slot)
        self.running = 0
        self.draining = False
        self.jobs: dict[str, tuple[asyncio.Task[None], threading.Event]] = {}
        self._working: set[asyncio.Task[Any]] = set()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Begin on this loop."""
        self._loop = asyncio.get_running_loop()
        await self.peers.start(self.tell)

    def drain(self, seconds: float) -> None:
        """Take no more work, and end what still runs after `seconds`. May be called from a signal handler."""
        self.draining = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._end_work)

    def _end_work(self) -> None:
        self._ended = True
        for _task, cancel in self.jobs.values():
            cancel.set()
        for task in self._working - {task for task, _cancel in self.jobs.values()}:
            task.cancel()

    def check_program(self, program_id: str) -> None:
        """
        Raises:
            BridgeError: `not_found`, with the ids that there are.
        """
        if self.catalogue.get(program_id) is None:
            known = ", ".join(self.catalogue.ids()[:20]) or "none"
            text = f"no program {program_id!r} (there are: {known})"
            raise BridgeError("not_found", text, details={"program_id": program_id})

    def check_place(self) -> None:
        """
        Raises:
            BridgeError: `overloaded`.
        """
        if self.draining:
            raise BridgeError("overloaded", "the server is shutting down", retry_after=1.0)
        if self.running >= self.settings.max_concurrency:
            raise BridgeError("overloaded", f"{self.running} executions run already (max_concurrency)", retry_after=1.0)

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Take a place among the executions.

        Raises:
            BridgeError: `overloaded`; `unavailable` when the server was stopped meanwhile.
        """
        self.check_place()
        self.running += 1
        task = asyncio.current_task()
        self._working |= {task} if task is not None else set()
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended or task is None:
                raise
            task.uncancel()
            raise stopped() from None
        finally:
            self.running -= 1
            self._working -= {task}

    async def once(
        self, key: str | None, caller: bytes, what: str, asked: BaseModel, run: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """Answer a request that comes again under its idempotency key with the answer of the first.

        Args:
            caller: whose keys these are.
            what: where the request came to.

        Returns the body, and whether it is that of an earlier request.

        Raises:
            BridgeError: `conflict`; what `run` raises.
        """
        if key is None:
            return await run(), False
        owned = f"{hashlib.sha256(caller).hexdigest()}:{key}"
        digest = hashlib.sha256(f"{what}\n".encode() + encode_told(asked.model_dump())).digest()
        if (kept := self.history.claim(owned, digest)) is not None:
            return kept, True
        answer: bytes | None = None
        try:
            answer = await run()
            return answer, False
        finally:
            try:
                self.history.answer(owned, answer)
            except BridgeError as error:  # the work is done, and its answer is worth more than its copy
                logger.warning("the answer under an idempotency key cannot be kept: %s", error.message)

    async def execute(
        self, asked: schemas.ExecuteRequest, request_id: str | None, receive: Receive | None, **options: Any
    ) -> bytes:
        """Run once; return the body of the answer.

        Args:
            request_id: the id that the client gave.
            receive: the request's: the client that goes away stops the work.
        """
        self.check_program(asked.program_id)
        async with self.place():
            work = self.executor.aexecute(
                model_id=asked.program_id,
                inputs=asked.inputs,
                mode=asked.mode,
                timeout=self.seconds(asked.timeout),
                session_id=asked.session_id,
                client_request_id=request_id,
                **options,
            )
            shown = self.told(await (work if receive is None else unless_gone(work, receive)))
            if self.settings.durable:
                await self.history.written()
            return shown

    # -- all processes behind the port -------------------------------------------------------------------------

    async def tell(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer another process."""
        if question.get("ask") == "clear":
            return {"cleared": self.executor.clear_cache(question.get("program_id"))}
        if question.get("ask") == "execution":
            return {"body": (self.history.pending(question["execution_id"]) or b"").decode()}
        return self._state() if question.get("ask") == "state" else self.health()

    async def stats(self) -> dict[str, Any]:
        """Return the statistics of all processes, as those of one are shown, and `processes`: some of each."""
        others, silent = await self.peers.ask({"ask": "state"}, _PATIENCE_S)
        told = [other for other in others if "stats" in other]
        return {**together([self._state(), *told]), "processes_silent": silent + len(others) - len(told)}

    async def whole_health(self) -> dict[str, Any]:
        """Return the state of this process, and how many there are and answer."""
        others, _ = await self.peers.ask({"ask": "health"})
        own = self.health()
        running = own["running"] + sum(other.get("running", 0) for other in others)
        return {**own, "running": running, "workers": self.peers.slots, "workers_answering": 1 + len(others)}

    async def execution(self, execution_id: str) -> bytes | None:
        """Return the JSON of an execution; the newest ones are only known to the process that ran them."""
        if (found := self.history.get(execution_id)) is not None:
            return found
        others, _ = await self.peers.ask({"ask": "execution", "execution_id": execution_id})
        told = next((other["body"].encode() for other in others if other.get("body")), None)
        return told or self.history.get(execution_id)  # it may have been written between the two looks

    async def clear(self, program_id: str | None) -> int:
        """Let all processes forget results; return how many these were.

        Raises:
            BridgeError: `unavailable` when a process did not answer.
        """
        cleared = self.executor.clear_cache(program_id)
        others, silent = await self.peers.ask({"ask": "clear", "program_id": program_id}, _PATIENCE_S)
        if silent or any("cleared" not in other for other in others):
            text = "not every process behind the port answered; results may be left in one of them, so clear again"
            raise BridgeError("unavailable", text, retryable=True, retry_after=1.0)
        return cleared + sum(other["cleared"] for other in others)

    def health(self) -> dict[str, Any]:
        """Return the state of this process."""
        status = "draining" if self.draining else "ok"
        programs = len(self.catalogue.ids())
        return {"status": status, "version": __version__, "programs": programs, "running": self.running}

    def _state(self) -> dict[str, Any]:
        stats = {
            **self.executor.get_execution_stats(),
            "running": self.running,
            "history_dropped": self.history.dropped,
        }
        connections = self.shared.board.connections(self.peers.slot) if self.shared is not None else None
        times = self.executor.statistics.times()
        return {"pid": os.getpid(), "connections": connections, "stats": stats, "times": times}

    # -- executions ---------------------------------------------------------------------------------------------

    def seconds(self, asked: float | None) -> float:
        """Return how long an execution may take."""
        return self.settings.timeout if asked is None else min(asked, self.settings.timeout)

    def told(self, result: ExecutionResult) -> bytes:
        """Return a result as the API shows it, and keep it."""
        execution_id = result.metadata.get("execution_id") or secrets.token_hex(8)
        shown = encode_told({"execution_id": execution_id, **result.to_dict()})
        self.history.add(execution_id, result.program_name, result.success, shown)
        return shown

    async def batch(self, asked: schemas.BatchRequest, receive: Receive) -> bytes:
        """Run a batch; return the body of the answer. The client that goes away stops the work."""
        progress = _Progress(self.told)
        results = await unless_gone(self._results(asked, threading.Event(), progress), receive)
        return _told_batch(results, progress, secrets.token_hex(8))

    async def _results(
        self, asked: schemas.BatchRequest, cancel: threading.Event, progress: Progress
    ) -> list[ExecutionResult]:
        async with self.place():
            return await self.executor.aexecute_batch(
                model_id=asked.program_id,
                inputs_list=asked.inputs_list,
                mode=asked.mode,
                timeout=self.seconds(asked.timeout),
                progress=progress,
                cancel=cancel,
            )

    def check_batch(self, asked: schemas.BatchRequest) -> None:
        """
        Raises:
            BridgeError: `not_found`, `limit_exceeded`.
        """
        self.check_program(asked.program_id)
        if len(asked.inputs_list) > self.settings.max_batch:
            raise BridgeError("limit_exceeded", f"a batch has at most {self.settings.max_batch} items (max_batch)")

    async def start_job(self, asked: schemas.BatchRequest) -> bytes:
        """Run a batch behind the request's back."""
        self.check_place()
        job = secrets.token_hex(8)
        self.history.start_job(job, len(asked.inputs_list))
        cancel = threading.Event()
        self.jobs[job] = asyncio.create_task(self._run_job(job, asked, cancel)), cancel
        self.jobs[job][0].add_done_callback(lambda _task: self.jobs.pop(job, None))
        return encode_told(self.history.job(job) or {})

    def cancel_job(self, job: str) -> None:
        """Ask a job to stop, in whichever process it runs."""
        self.history.cancel_job(job)
        if (mine := self.jobs.get(job)) is not None:
            mine[1].set()

    async def stop_jobs(self) -> None:
        """End the jobs of this process; what they have done is kept."""
        tasks = [task for task, _cancel in self.jobs.values()]
        for _task, cancel in self.jobs.values():
            cancel.set()
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_S)

    async def _run_job(self, job: str, asked: schemas.BatchRequest, cancel: threading.Event) -> None:
        progress = _Progress(self.told)
        watch = asyncio.create_task(self._watch(job, progress, cancel))
        status, body, error = "failed", None, None
        try:
            results = await self._results(asked, cancel, progress)
            body = _told_batch(results, progress, job)
            left = any(result.metadata.get("error_kind") == "cancelled" for result in results)
            stopped = left and cancel.is_set()
            status = "cancelled" if stopped else "finished"
            error = _STOPPED if stopped and self.draining else None
        except Exception as failure:
            error = to_bridge_error(failure, "a batch").message
        finally:
            watch.cancel()
        await self._finish(job, progress, status, body, error)

    async def _finish(
        self, job: str, progress: "_Progress", status: str, body: bytes | None, error: str | None
    ) -> None:
        """Write how a job ended, as soon as it can be written: otherwise it would seem to run for ever."""
        while True:
            try:
                self.history.update_job(job, progress.done, progress.failed)
                return self.history.finish_job(job, status, body, error)
            except BridgeError as failure:
                logger.warning("the end of the job %s cannot be written yet: %s", job, failure.message)
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, job: str, progress: "_Progress", cancel: threading.Event) -> None:
        """Write how far a job is, and stop one that was asked to, in whichever process; an item may take long."""
        while not cancel.is_set():
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(BridgeError):
                self.history.update_job(job, progress.done, progress.failed)
                if self.history.is_cancelled(job):
                    cancel.set()


class _Progress:
    """How far a batch is, and the JSON of what is done; a result is kept as soon as it is there."""

    def __init__(self, tell: Callable[[ExecutionResult], bytes]) -> None:
        self._tell = tell
        self._bodies: dict[int, bytes] = {}
        self.done = 0
        self.failed = 0

    def __call__(self, _done: int, _total: int, result: ExecutionResult) -> None:
        self.done += 1
        self.failed += not result.success
        self._bodies[id(result)] = self._tell(result)

    def body(self, result: ExecutionResult) -> bytes:
        return self._bodies.get(id(result)) or self._tell(result)


def _told_batch(results: list[ExecutionResult], progress: _Progress, batch_id: str) -> bytes:
    successful = sum(result.success for result in results)
    shown = {
        "batch_id": batch_id,
        "total": len(results),
        "successful": successful,
        "failed": len(results) - successful,
        "results": [orjson.Fragment(progress.body(result)) for result in results],
    }
    return orjson.dumps(shown)


__all__ = ["PREFIX", "Api"]
