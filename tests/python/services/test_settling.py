"""A request that is stopped while its change is committed: the commit decides what it is answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.protocol.operations import Nothing
from python_bridge.services.call import settling
from python_bridge.services.dispatch import Dispatcher, Operation
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.transports.memory import connect_memory

pytestmark = [pytest.mark.anyio, pytest.mark.req("OWN-1", "FR2.3.3")]


class Commit:
    """A request that waits where a store would, and what comes of it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.outcome: Callable[[bool], Awaitable[Any]] = self.made

    async def handle(self, call: Any, params: Nothing) -> dict[str, Any]:
        with settling():
            return await self.outcome(await self._outlast())

    async def _outlast(self) -> bool:
        """Wait through cancellations, as a commit does; return whether there was one."""
        self.begun.set()
        stopped = False
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                stopped = True
                self.go_on.set()
        return stopped

    async def made(self, stopped: bool) -> dict[str, Any]:
        return {"made": True}

    async def withdrawn(self, stopped: bool) -> dict[str, Any]:
        raise asyncio.CancelledError

    async def fenced(self, stopped: bool) -> dict[str, Any]:
        raise BridgeError("conflict", "another one has it")


@pytest.fixture
async def commit() -> Commit:
    return Commit()


@pytest.fixture
async def client(commit: Commit) -> AsyncIterator[BridgeClient]:
    dispatcher = Dispatcher({"commit": Operation(Nothing, commit.handle)}, Settings())
    client = connect_memory(dispatcher, BridgeClient)
    dispatcher.engine_ready("none", [], 0)
    await client.ready()
    yield client
    client.close()
    dispatcher.end(0)


async def kind_of(answer: Awaitable[Any]) -> str:
    with pytest.raises(BridgeError) as caught:
        await answer
    return caught.value.kind


async def test_a_change_that_is_made_is_answered_as_made_though_it_was_cancelled(
    client: BridgeClient, commit: Commit
) -> None:
    number = client.send("commit")
    await commit.begun.wait()
    client.cancel(number)
    assert await client.response(number) == {"made": True}


async def test_a_change_that_is_withdrawn_is_answered_as_cancelled(client: BridgeClient, commit: Commit) -> None:
    commit.outcome = commit.withdrawn
    number = client.send("commit")
    await commit.begun.wait()
    client.cancel(number)
    assert await kind_of(client.response(number)) == "cancelled"


async def test_a_deadline_that_passes_meanwhile_is_told_as_such(client: BridgeClient, commit: Commit) -> None:
    commit.outcome = commit.withdrawn
    assert await kind_of(client.request("commit", deadline_ms=20)) == "timeout"


async def test_a_commit_that_fails_after_a_stop_is_not_tried_again(client: BridgeClient, commit: Commit) -> None:
    commit.outcome = commit.fenced
    assert await kind_of(client.request("commit", deadline_ms=20)) == "timeout"


async def test_a_commit_that_fails_by_itself_tells_why(client: BridgeClient, commit: Commit) -> None:
    commit.outcome = commit.fenced
    commit.go_on.set()
    assert await kind_of(client.request("commit")) == "conflict"
