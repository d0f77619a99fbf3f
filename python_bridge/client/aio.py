"""The client for event loops: asyncio, or trio."""

import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Self

import anyio

from python_bridge.client import answers, http, requests
from python_bridge.client.events import EventReader, ended_early
from python_bridge.client.requests import Ask
from python_bridge.client.results import ExecutionResult, JobStatus, StreamEvent
from python_bridge.client.retries import Retries
from python_bridge.errors import BridgeError


class AsyncClient:
    """Runs programs on a server of the REST API. Tasks may share one; close it, or use it in an ``async with``.

    Every method raises `BridgeError`: the server's problem with its `kind`, `retryable`, `retry_after` and `details`
    (`status`, `request_id`, `hint`, `problems`); `unavailable` without a server; `timeout` without an answer in time;
    `unauthorized` without the right token. Failures that may pass are retried first.

    Args:
        base_url: of the server, such as ``http://127.0.0.1:8000``.
        token: bearer token, where the server asks for one.
        timeout: seconds to wait for an answer, where a call names no time of its own.
        retries: further attempts of one request. What may have been done already is sent again only where that does
            no harm.

    Raises:
        BridgeError: `unavailable` when httpx is not installed, `invalid_request` for a wrong `base_url`.
    """

    def __init__(self, base_url: str, token: str | None = None, *, timeout: float = 300.0, retries: int = 2) -> None:
        library = http.library()
        self._timeout = timeout
        self._retries = retries
        self._http = library.AsyncClient(**http.options(base_url, token, timeout))
        self._errors = (library.HTTPError, library.StreamError)

    async def execute(
        self,
        program_id: str,
        inputs: Mapping[str, Any],
        *,
        mode: str = "normal",
        timeout: float | None = None,
        session_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ExecutionResult:
        """Run a program once.

        Args:
            mode: ``"normal"``, ``"dry_run"`` or ``"debug"``.
            timeout: seconds that the program may take.
            session_id: groups executions in what is tracked.
            idempotency_key: an execution that comes again under it gets the first one's answer; made for each call
                where none is given.
        """
        ask = requests.execute(program_id, inputs, mode, timeout, session_id, idempotency_key)
        return ExecutionResult.read(await self._send(ask))

    async def execute_batch(
        self,
        program_id: str,
        inputs_list: Iterable[Mapping[str, Any]],
        *,
        mode: str = "normal",
        timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> list[ExecutionResult]:
        """Run a program for each of the inputs, and wait for all; results keep the order.

        Args:
            timeout: seconds for one item.
        """
        body = await self._send(requests.batch(program_id, inputs_list, mode, timeout, idempotency_key))
        return [ExecutionResult.read(entry) for entry in answers.member(body, "results", list)]

    async def submit_batch(
        self,
        program_id: str,
        inputs_list: Iterable[Mapping[str, Any]],
        *,
        mode: str = "normal",
        timeout: float | None = None,
    ) -> "AsyncJob":
        """Start a batch, and return at once."""
        state = JobStatus.read(await self._send(requests.job(program_id, inputs_list, mode, timeout)))
        return AsyncJob(self, state.batch_id)

    def job(self, batch_id: str) -> "AsyncJob":
        """Return a job that was started before, by its id."""
        return AsyncJob(self, batch_id)

    async def stream(
        self,
        program_id: str,
        inputs: Mapping[str, Any],
        *,
        mode: str = "normal",
        timeout: float | None = None,
        session_id: str | None = None,
    ) -> AsyncGenerator[StreamEvent | ExecutionResult, None]:
        """Run a program once; give its events as they come, and last its result.

        Closing the generator stops the work: use `contextlib.aclosing` where the loop may be left early.
        """
        ask = requests.stream(program_id, inputs, mode, timeout, session_id)
        reader = EventReader()
        try:
            async with aclosing(await self._open(ask, stream=True)) as response:
                async for data in response.aiter_bytes():
                    for event in reader.feed(data):
                        yield event
                        if isinstance(event, ExecutionResult):
                            return
        except self._errors as error:
            raise http.told(error)[0] from error
        raise ended_early()

    async def programs(self) -> list[dict[str, Any]]:
        """Return the programs: `program_id`, `kind`, `signature`, `inputs`, `outputs` of each."""
        return answers.member(await self._send(requests.get("/programs")), "programs", list)

    async def execution(self, execution_id: str) -> ExecutionResult:
        """Return the result of an earlier execution, as long as the server keeps it."""
        return ExecutionResult.read(await self._send(requests.get("/execution", execution_id)))

    async def stats(self) -> dict[str, Any]:
        """Return counts, times, cache and tracking of the server."""
        return await self._send(requests.get("/stats"))

    async def clear_cache(self, program_id: str | None = None) -> int:
        """Let the server forget the results of a program, or all; return how many there were."""
        return answers.member(await self._send(requests.clear_cache(program_id)), "cleared", int)

    async def health(self) -> dict[str, Any]:
        """Return `status`, `version`, `programs`, `running` of the server; needs no token."""
        return await self._send(requests.get("/health"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _send(self, ask: Ask) -> Any:
        response = await self._open(ask, stream=False)
        return answers.read(response.status_code, response.headers, response.content)

    async def _open(self, ask: Ask, *, stream: bool) -> Any:
        """Return a good response, after retries."""
        retries = Retries(self._retries, repeatable=ask.repeatable)
        while True:
            try:
                return await self._attempt(ask, stream)
            except self._errors as error:
                failure, sent = http.told(error)
            except BridgeError as error:
                failure, sent = error, True
            wait = retries.delay(failure, sent=sent)
            if wait is None:
                raise failure
            await anyio.sleep(wait)

    async def _attempt(self, ask: Ask, stream: bool) -> Any:
        response = await self._http.send(http.request_of(self._http, ask, self._timeout), stream=stream)
        if response.status_code >= 300:
            async with aclosing(response):
                answers.read(response.status_code, response.headers, await response.aread())
        return response


class AsyncJob:
    """A batch that runs on the server behind the caller's back.

    Attributes:
        id: finds the job again, with `AsyncClient.job`.
    """

    def __init__(self, client: AsyncClient, batch_id: str) -> None:
        self._client = client
        self.id = batch_id

    async def status(self) -> JobStatus:
        """Return how far it is."""
        return JobStatus.read(await self._client._send(requests.get("/batch", self.id)))

    async def results(self) -> list[ExecutionResult]:
        """Return the results, in the order of the inputs.

        Raises:
            BridgeError: `not_found` before the job has ended.
        """
        body = await self._client._send(requests.get("/batch", self.id, "results"))
        return [ExecutionResult.read(entry) for entry in answers.member(body, "results", list)]

    async def cancel(self) -> JobStatus:
        """Ask it to stop; what it has done is kept."""
        return JobStatus.read(await self._client._send(requests.cancel(self.id)))

    async def wait(self, timeout: float | None = None, *, poll: float = 0.25) -> JobStatus:
        """Return its state once it has ended.

        Args:
            timeout: seconds to wait at most, ``None`` for ever.
            poll: seconds between two questions to the server.

        Raises:
            BridgeError: `timeout`; the job goes on.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not (state := await self.status()).ended:
            if time.monotonic() + poll > until:
                raise BridgeError("timeout", f"the job {self.id} has done {state.done} of {state.total} by now")
            await anyio.sleep(poll)
        return state


__all__ = ["AsyncClient", "AsyncJob"]
