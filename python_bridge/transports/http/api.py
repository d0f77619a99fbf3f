"""What the routes of the REST API share: the executor, places, jobs, the history."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request

from python_bridge.errors import BridgeError
from python_bridge.services.executor.executor import DSPyPipelineExecutor
from python_bridge.services.executor.model import ExecutionResult
from python_bridge.store.history import History
from python_bridge.transports.http import schemas
from python_bridge.transports.http.catalogue import Catalogue
from python_bridge.transports.http.settings import HttpSettings

_DISCONNECT_POLL_S = 0.05


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

    async def execute(self, asked: schemas.ExecuteRequest, request: Request, **options: Any) -> dict[str, Any]:
        """Run once; the client that goes away cancels."""
        self.check_program(asked.program_id)
        async with self.place():
            work = asyncio.ensure_future(
                self.executor.aexecute(
                    model_id=asked.program_id,
                    inputs=asked.inputs,
                    mode=asked.mode,
                    timeout=self.seconds(asked.timeout),
                    session_id=asked.session_id,
                    client_request_id=request.state.given_request_id,
                    **options,
                )
            )
            shown = self.told(await _unless_gone(work, request))
            if self.settings.durable:
                await self.history.written()
            return shown

    def seconds(self, asked: float | None) -> float:
        """Return how long an execution may take."""
        return self.settings.timeout if asked is None else min(asked, self.settings.timeout)

    def told(self, result: ExecutionResult) -> dict[str, Any]:
        """Return a result as the API shows it, and keep it."""
        shown = {"execution_id": result.metadata.get("execution_id") or secrets.token_hex(8), **result.to_dict()}
        self.history.add(shown["execution_id"], result.program_name, result.success, shown)
        return shown

    async def batch(self, asked: schemas.BatchRequest, job: str | None = None) -> dict[str, Any]:
        """Run a batch; progress goes to the job's row."""
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
        shown = [self.told(result) for result in results]
        successful = sum(result.success for result in results)
        return {
            "batch_id": job or secrets.token_hex(8),
            "total": len(shown),
            "successful": successful,
            "failed": len(shown) - successful,
            "results": shown,
        }

    def check_batch(self, asked: schemas.BatchRequest) -> None:
        """
        Raises:
            BridgeError: `not_found`, `limit_exceeded`.
        """
        self.check_program(asked.program_id)
        if len(asked.inputs_list) > self.settings.max_batch:
            raise BridgeError("limit_exceeded", f"a batch has at most {self.settings.max_batch} items (max_batch)")

    async def start_job(self, asked: schemas.BatchRequest) -> dict[str, Any]:
        """Run a batch behind the request's back."""
        job = secrets.token_hex(8)
        self.history.start_job(job, len(asked.inputs_list))
        self.jobs[job] = asyncio.create_task(self._run_job(job, asked))
        self.jobs[job].add_done_callback(lambda _task: self.jobs.pop(job, None))
        return self.history.job(job) or {}

    async def _run_job(self, job: str, asked: schemas.BatchRequest) -> None:
        try:
            body = await self.batch(asked, job)
        except BaseException as error:
            self.history.finish_job(job, "failed", None, str(error) or type(error).__name__)
            raise
        stopped = any(entry["metadata"].get("error_kind") == "cancelled" for entry in body["results"])
        self.history.finish_job(job, "cancelled" if stopped else "finished", body)


async def _unless_gone(work: "asyncio.Future[ExecutionResult]", request: Request) -> ExecutionResult:
    """Wait for the work; when the client goes away first, stop it."""
    try:
        while True:
            done, _ = await asyncio.wait({work}, timeout=_DISCONNECT_POLL_S)
            if done:
                return work.result()
            if await request.is_disconnected():
                raise BridgeError("cancelled", "the client went away; the work was stopped")
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait({work})


__all__ = ["Api"]
