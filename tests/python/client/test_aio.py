"""The client for event loops, against a running server."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from python_bridge.client import AsyncClient, BridgeError, ExecutionResult
from python_bridge.testing import Answer, Gate
from tests.python.http.conftest import TOKEN, Server

INPUTS = {"question": "?"}
pytestmark = [pytest.mark.anyio, pytest.mark.req("EX-13")]


@asynccontextmanager
async def connected(server: Server) -> AsyncGenerator[AsyncClient, None]:
    async with AsyncClient(server.url, TOKEN, timeout=30) as client:
        yield client


async def test_everything_that_is_asked_is_answered(server: Server) -> None:
    async with connected(server) as client:
        result = await client.execute("qa", INPUTS)
        assert result.outputs == {"answer": "42"}
        assert await client.execution(result.execution_id) == result
        assert [entry.success for entry in await client.execute_batch("qa", [INPUTS, {}])] == [True, False]
        assert [program["program_id"] for program in await client.programs()] == ["qa", "typed"]
        assert await client.clear_cache() == 1
        assert (await client.stats())["running"] == 0
        assert (await client.health())["status"] == "ok"


async def test_tasks_share_one_client(server: Server) -> None:
    results: list[ExecutionResult] = []

    async def ask(number: int) -> None:
        results.append(await client.execute("qa", {"question": str(number)}))

    async with connected(server) as client, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number)
    assert [result.success for result in results] == [True] * 20


async def test_a_job_is_waited_for_and_then_has_results(server: Server) -> None:
    gate = Gate()
    server.lm.push(Answer(fields={"answer": "slow"}, gate=gate))
    async with connected(server) as client:
        job = await client.submit_batch("qa", [INPUTS])
        assert (await job.status()).status == "running"
        with pytest.raises(BridgeError):
            await job.wait(0.01)
        gate.open()
        assert (await client.job(job.id).wait(30, poll=0.02)).status == "finished"
        assert [result.outputs for result in await job.results()] == [{"answer": "slow"}]
        assert (await job.cancel()).status == "finished"


async def test_a_stream_gives_events_and_last_the_result(server: Server) -> None:
    async with connected(server) as client:
        got = [event async for event in client.stream("qa", INPUTS)]
    assert "".join(event.text for event in got if not isinstance(event, ExecutionResult)) == "42"
    assert isinstance(got[-1], ExecutionResult)


async def test_a_stream_that_is_cancelled_stops_the_work(server: Server) -> None:
    held = Answer(fields={"answer": "never"}, gate=Gate())
    server.lm.push(held)
    async with connected(server) as client:
        async with anyio.create_task_group() as group:

            async def read() -> None:
                async with aclosing(client.stream("qa", INPUTS)) as events:
                    async for _event in events:
                        pass

            group.start_soon(read)
            await anyio.to_thread.run_sync(held.reached.wait, 30)
            group.cancel_scope.cancel()
        while (await client.stats())["running"]:
            await anyio.lowlevel.checkpoint()


async def test_problems_are_errors_of_the_closed_set(server: Server) -> None:
    async with AsyncClient(server.url, "wrong") as stranger:
        with pytest.raises(BridgeError) as caught:
            await stranger.programs()
    assert caught.value.kind == "unauthorized"
    async with AsyncClient("http://127.0.0.1:1", retries=1) as lost:
        with pytest.raises(BridgeError) as caught:
            await lost.execute("qa", INPUTS)
    assert (caught.value.kind, caught.value.retryable) == ("unavailable", True)
