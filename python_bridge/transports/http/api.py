"""What the routes of the REST API share: the executor, places, jobs, the history."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Receive

from python_bridge.errors import BridgeError
from python_bridge.services.executor.batch import Progress
from python_bridge.services.executor.executor import DSPyPipelineExecutor
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.services.faults import to_bridge_error
from python_bridge.store.history import History
from python_bridge.transports.http import schemas
from python_bridge.transports.http.catalogue import Catalogue
from python_bridge.transports.http.disconnects import unless_gone
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.wire.told import encode_told

PREFIX = "/api/v1/dspy"
_LOOK_S = 0.25
_STOP_S = 5.0
_AGAIN_S = 5.0
_STOPPED = "the server was shut down; what was done until then is kept"

logger = logging.getLogger("python_bridge.http")


class Api:
    """What the routes share.

    Args:
        settings: limits of requests.
        executor: runs the programs; closed with the application.
        history: closed with the application.
    """

    def __init__(
        self, settings: HttpSettings, catalogue: Catalogue, executor: DSPyPipelineExecutor, history: History
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.executor = executor
        self.history = history
        self.running = 0
        self.draining = False
        self.jobs: dict[str, tuple[asyncio.Task[None], threading.Event]] = {}

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
            BridgeError: `overloaded`.
        """
        self.check_place()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1

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
            self.history.answer(owned, answer)

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
        results = await unless_gone(self._results(asked, threading.Event()), receive)
        return self._told_batch(results, secrets.token_hex(8))

    async def _results(
        self, asked: schemas.BatchRequest, cancel: threading.Event, progress: Progress | None = None
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

    def _told_batch(self, results: list[ExecutionResult], batch_id: str) -> bytes:
        successful = sum(result.success for result in results)
        shown = {
            "batch_id": batch_id,
            "total": len(results),
            "successful": successful,
            "failed": len(results) - successful,
            "results": [orjson.Fragment(self.told(result)) for result in results],
        }
        return orjson.dumps(shown)

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
        progress = _Progress(self.history, job)
        watch = asyncio.create_task(self._watch(job, cancel))
        status, body, error = "failed", None, None
        try:
            results = await self._results(asked, cancel, progress)
            body = self._told_batch(results, job)
            left = any(result.metadata.get("error_kind") == "cancelled" for result in results)
            stopped = left and cancel.is_set()
            status = "cancelled" if stopped else "finished"
            error = _STOPPED if stopped and self.draining else None
        except Exception as failure:
            error = to_bridge_error(failure, "a batch").message
        finally:
            watch.cancel()
        await self._finish(job, status, body, error)

    async def _finish(self, job: str, status: str, body: bytes | None, error: str | None) -> None:
        """Write how a job ended, as soon as it can be written: otherwise it would seem to run for ever."""
        while True:
            try:
                return self.history.finish_job(job, status, body, error)
            except BridgeError as failure:
                logger.warning("the end of the job %s cannot be written yet: %s", job, failure.message)
                await asyncio.sleep(_AGAIN_S)

    async def _watch(self, job: str, cancel: threading.Event) -> None:
        """Stop a job that was asked to, in whichever process; an item at work may take long."""
        while not cancel.is_set():
            await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(BridgeError):
                if self.history.is_cancelled(job):
                    cancel.set()


class _Progress:
    """Writes how far a job is."""

    def __init__(self, history: History, job: str) -> None:
        self._history = history
        self._job = job
        self._failed = 0

    def __call__(self, done: int, _total: int, result: ExecutionResult) -> None:
        self._failed += not result.success
        with contextlib.suppress(BridgeError):  # the next one may be written again
            self._history.update_job(self._job, done, self._failed)


__all__ = ["PREFIX", "Api"]
