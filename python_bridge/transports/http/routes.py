"""The routes of `/api/v1/dspy`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from sse_starlette.sse import EventSourceResponse

from python_bridge.errors import BridgeError
from python_bridge.services.faults import to_bridge_error
from python_bridge.transports.http import schemas
from python_bridge.transports.http.api import PREFIX, Api
from python_bridge.transports.http.bodies import JsonRoute, answer, dump
from python_bridge.transports.http.catalogue import view

_MAX_EVENTS = 64
_STUCK_S = 60

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=256, pattern=r"^[\x21-\x7e]+$")]
AsJob = Annotated[bool, Query(alias="async", description="run it as a job: 202, and its state under /batch/{batch_id}")]


def routes(api: Api) -> APIRouter:
    """Return the routes of `/api/v1/dspy`."""
    router = APIRouter(prefix=PREFIX, route_class=JsonRoute)

    async def once(key: str | None, asked: Any, request: Request, run: Any, status: int = 200) -> Response:
        caller = request.headers.get("authorization", "").encode("latin-1")
        body, replayed = await api.once(key, caller, f"{request.url.path} {status}", asked, run)
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return Response(body, status, headers, media_type="application/json")

    @router.post("/execute", response_model=schemas.ExecutionResponse)
    async def execute(
        asked: schemas.ExecuteRequest, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Run a program once. Its failure is a result: 200 with `success: false`."""
        given = request.state.given_request_id
        return await once(idempotency_key, asked, request, lambda: api.execute(asked, given, request.receive))

    @router.post(
        "/execute/batch", response_model=schemas.BatchResponse, responses={202: {"model": schemas.JobResponse}}
    )
    async def batch(  # pyright: ignore[reportUnusedFunction]
        asked: schemas.BatchRequest, request: Request, idempotency_key: IdempotencyKey = None, as_job: AsJob = False
    ) -> Response:
        """Run a program for each of many inputs."""
        api.check_batch(asked)
        if as_job:
            return await once(idempotency_key, asked, request, lambda: api.start_job(asked), 202)
        return await once(idempotency_key, asked, request, lambda: api.batch(asked, request.receive))

    @router.post("/execute/stream", response_class=EventSourceResponse)
    async def stream(asked: schemas.ExecuteRequest, request: Request) -> EventSourceResponse:  # pyright: ignore[reportUnusedFunction]
        """Run a program once; events are `token`, `status`, … and last `result` (or `error`)."""
        api.check_program(asked.program_id)
        api.check_place()
        return EventSourceResponse(_events(api, asked, request), ping=15, send_timeout=_STUCK_S)

    @router.get("/batch/{batch_id}", response_model=schemas.JobResponse)
    async def job(batch_id: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        """Tell how far a job is."""
        return _found(api.history.job(batch_id), f"no job {batch_id[:80]!r}")

    @router.get("/batch/{batch_id}/results", response_model=schemas.BatchResponse)
    async def job_results(batch_id: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give the results of a job that has ended."""
        return _as_kept(api.history.job_results(batch_id), f"no result of a job {batch_id[:80]!r}")

    @router.post("/batch/{batch_id}/cancel", response_model=schemas.JobResponse)
    async def cancel(batch_id: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        """Ask a job to stop; what it has done is kept."""
        api.cancel_job(batch_id)
        return _found(api.history.job(batch_id), f"no job {batch_id[:80]!r}")

    @router.get("/programs", response_model=schemas.ProgramsResponse, response_model_exclude_unset=True)
    async def programs() -> Any:  # pyright: ignore[reportUnusedFunction]
        """List the programs."""
        return {"programs": [view(api.catalogue, program_id) for program_id in api.catalogue.ids()]}

    @router.get("/execution/{execution_id}", response_model=schemas.ExecutionResponse)
    async def execution(execution_id: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give an execution of the history."""
        return _as_kept(await api.execution(execution_id), f"no execution {execution_id[:80]!r}")

    @router.get("/executions", response_model=schemas.ExecutionsResponse)
    async def executions() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give the newest executions."""
        return answer({"executions": api.history.recent()})

    @router.get("/stats")
    async def stats() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Give counts, times, cache and tracking of all processes behind the port."""
        return await api.stats()

    @router.post("/cache/clear", response_model=schemas.ClearedResponse)
    async def clear(asked: schemas.ClearRequest) -> Any:  # pyright: ignore[reportUnusedFunction]
        """Forget results."""
        if asked.program_id is not None:
            api.check_program(asked.program_id)
        return {"cleared": await api.clear(asked.program_id)}

    @router.get("/health", response_model=schemas.HealthResponse)
    async def health() -> Any:  # pyright: ignore[reportUnusedFunction]
        """Tell whether the server works; needs no token."""
        return await api.whole_health()

    return router


def _found(value: dict[str, Any] | None, what: str) -> dict[str, Any]:
    if value is None:
        raise BridgeError("not_found", f"there is {what}")
    return value


def _as_kept(body: bytes | None, what: str) -> Response:
    if body is None:
        raise BridgeError("not_found", f"there is {what}")
    return Response(body, media_type="application/json")


async def _events(api: Api, asked: schemas.ExecuteRequest, request: Request) -> AsyncGenerator[dict[str, str], None]:
    """Give the events of one execution as server-sent events; closing the generator stops the work."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_MAX_EVENTS)
    given = request.state.given_request_id
    work = asyncio.ensure_future(api.execute(asked, given, None, emit=queue.put, use_cache=False))
    work.add_done_callback(lambda _work: asyncio.ensure_future(queue.put(None)))
    number = 0
    try:
        while (event := await queue.get()) is not None:
            yield {"id": str(number), "event": str(event.get("type", "message")), "data": dump(event)}
            number += 1
        yield {"id": str(number), **_last(work)}
    finally:
        work.cancel()
        await asyncio.wait({work})
        while not queue.empty():  # the end must find room, though nobody takes it
            queue.get_nowait()


def _last(work: "asyncio.Future[bytes]") -> dict[str, str]:
    if (failure := work.exception()) is None:
        return {"event": "result", "data": work.result().decode()}
    error = to_bridge_error(failure, "execute/stream") if isinstance(failure, Exception) else None
    return {"event": "error", "data": dump(error.to_object() if error else {"message": "the work was stopped"})}


__all__ = ["routes"]
