"""What the routes of the REST API share: the executor, places, jobs, the history."""

import asyncio
import contextlib
import hashlib
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.types import Receive

from python_bridge.errors import BridgeError
from python_bridge.services.executor.executor import DSPyPipelineExecutor
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.store.history import History
from python_bridge.transports.http import schemas
from python_bridge.transports.http.catalogue import Catalogue
from python_bridge.transports.http.disconnects import unless_gone
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.wire.told import encode_told

PREFIX = "/api/v1/dspy"


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
        self.jobs: dict[str, asyncio.Task[None]] = {}

    def check_program(self, program_id: str) -> None:
        """
        Raises:
            BridgeError: `not_found`, with the ids that there are.
        """
        if self.catalogue.get(program_id) is None:
            known = ", ".join(self.catalogue.ids()[:20]) or "none"
            text = f"no program {program_id!r} (there are: {known})"
            raise BridgeError("not_found", text, details={"program_id": program_id})

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncGenerator[None, None]:
        """Take a place among the executions.

        Raises:
            BridgeError: `overloaded`.
        """
        if self.draining:
            raise BridgeError("overloaded", "the server is shutting down", retry_after=1.0)
        if self.running >= self.settings.max_concurrency:
            raise BridgeError("overloaded", f"{self.running} executions run already (max_concurrency)", retry_after=1.0)
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

    async def batch(self, asked: schemas.BatchRequest) -> bytes:
        """Run a batch; return the body of the answer."""
        return (await self._batch(asked, None))[0]

    async def _batch(self, asked: schemas.BatchRequest, job: str | None) -> tuple[bytes, bool]:
        """Run a batch; progress goes to the job's row. Return the body, and whether it was stopped."""
        cancel = threading.Event()
        failed = 0

        def progress(done: int, _total: int, result: ExecutionResult) -> None:
            nonlocal failed
            failed += not result.success
            if job is not None and self.history.update_job(job, done, failed):
                cancel.set()

        async with self.place():
            results = await self.executor.aexecute_batch(
                model_id=asked.program_id,
                inputs_list=asked.inputs_list,
                mode=asked.mode,
                timeout=self.seconds(asked.timeout),
                progress=progress,
                cancel=cancel,
            )
        successful = sum(result.success for result in results)
        shown = {
            "batch_id": job or secrets.token_hex(8),
            "total": len(results),
            "successful": successful,
            "failed": len(results) - successful,
            "results": [orjson.Fragment(self.told(result)) for result in results],
        }
        stopped = any(result.metadata.get("error_kind") == "cancelled" for result in results)
        return orjson.dumps(shown), stopped

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
        job = secrets.token_hex(8)
        self.history.start_job(job, len(asked.inputs_list))
        self.jobs[job] = asyncio.create_task(self._run_job(job, asked))
        self.jobs[job].add_done_callback(lambda _task: self.jobs.pop(job, None))
        return encode_told(self.history.job(job) or {})

    async def _run_job(self, job: str, asked: schemas.BatchRequest) -> None:
        try:
            body, stopped = await self._batch(asked, job)
        except BaseException as error:
            self.history.finish_job(job, "failed", None, str(error) or type(error).__name__)
            raise
        self.history.finish_job(job, "cancelled" if stopped else "finished", body)


__all__ = ["PREFIX", "Api"]
