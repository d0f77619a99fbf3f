"""Sessions whose workers are real processes: killed, stopped, and set against each other."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from storekit.session_worker import SessionWorker, WorkerLost

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.limits import SessionSettings
from python_bridge.services.sessions.manager import Ref, SessionManager
from python_bridge.services.sessions.state import SessionState
from python_bridge.store.sessions import SessionStore
from python_bridge.store.settings import StoreSettings
from python_bridge.store.store import Store

pytestmark = pytest.mark.anyio

UPDATES, WORKERS, SESSIONS, CLIENTS_A_SESSION = 1_000, 4, 8, 2


@pytest.fixture
async def manager(store_url: str) -> AsyncIterator[SessionManager]:
    store = await Store.open(StoreSettings(url=store_url))
    manager = SessionManager(SessionStore(store), SessionSettings(), owner="observer")
    yield manager
    await store.close()


async def open_session(manager: SessionManager, session: str) -> None:
    now = manager.clock.now()
    await manager.open(SessionState("t", session, now, now), Ref("t", ""), lambda made: None)


class Cluster:
    """Four workers over one store, one of which dies every moment, and what their clients were told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.workers = [SessionWorker(url) for _ in range(WORKERS)]
        self.kills: list[asyncio.Task[None]] = []
        self._next_kill = 20
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()

    async def _kill_one(self) -> None:
        index = random.randrange(WORKERS)
        victim, self.workers[index] = self.workers[index], SessionWorker(self._url)
        await victim.kill()

    def _acknowledge(self, number: int) -> None:
        self.acknowledged.add(number)
        if len(self.acknowledged) >= self._next_kill:
            self._next_kill += random.randint(10, 60)
            self.kills.append(asyncio.create_task(self._kill_one()))

    async def client(self, session: str, numbers: list[int]) -> None:
        for number in numbers:
            await self._update(session, number, f"key {number}" if number % 2 else None)

    async def _update(self, session: str, number: int, key: str | None) -> None:
        while True:
            # Mostly the worker that has the session, as with a pool's affinity; now and then any.
            home = int(session.removeprefix("s")) % WORKERS
            worker = self.workers[home if random.random() < 0.9 else random.randrange(WORKERS)]
            try:
                await worker.update(session, number, key)
            except WorkerLost:
                if key is None:  # nobody can tell whether it was done, and it may not be done twice
                    self.unknown.add(number)
                    return
            except BridgeError as error:
                if error.kind != "conflict" or not error.retryable:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01))
            else:
                self._acknowledge(number)
                return


@pytest.mark.req("OWN-3", "FR2.3.3", "FR2.3.2")
async def test_a_thousand_updates_by_workers_that_are_killed_lose_and_double_nothing(
    store_url: str, manager: SessionManager
) -> None:
    sessions = [f"s{number}" for number in range(SESSIONS)]
    for session in sessions:
        await open_session(manager, session)
    cluster = Cluster(store_url)
    lanes = SESSIONS * CLIENTS_A_SESSION
    await asyncio.wait_for(
        asyncio.gather(
            *(cluster.client(sessions[lane % SESSIONS], list(range(UPDATES))[lane::lanes]) for lane in range(lanes))
        ),
        300,
    )
    await asyncio.gather(*cluster.kills)
    for worker in cluster.workers:
        await worker.kill()

    applied: Counter[int] = Counter()
    for session in sessions:
        state, _ = await manager.view("t", session)
        assert state.variables["seen"] == [entry.fields["number"] for entry in state.history.entries]
        applied.update(state.variables["seen"])
    assert len(cluster.kills) > 10
    assert [number for number, count in applied.items() if count > 1] == []
    assert cluster.acknowledged - set(applied) == set()
    assert {number for number in range(UPDATES) if number % 2} <= cluster.acknowledged
    assert set(applied) <= cluster.acknowledged | cluster.unknown


@pytest.mark.req("OWN-3")
async def test_a_worker_that_was_stopped_in_mid_call_finds_itself_fenced_when_it_goes_on(
    store_url: str, manager: SessionManager
) -> None:
    await open_session(manager, "s")
    stopped, other = SessionWorker(store_url), SessionWorker(store_url)
    slow = asyncio.create_task(stopped.update("s", 1, wait_s=0.05))
    await asyncio.sleep(0)
    await stopped.started[1].wait()
    os.kill(stopped.pid, signal.SIGSTOP)
    assert await other.update("s", 2) == 1
    os.kill(stopped.pid, signal.SIGCONT)
    with pytest.raises(BridgeError) as refused:
        await slow
    assert (refused.value.kind, refused.value.retryable) == ("conflict", True)
    assert await stopped.update("s", 1) == 2
    assert (await manager.view("t", "s"))[0].variables["seen"] == [2, 1]
    await stopped.kill()
    await other.kill()


async def test_a_worker_killed_while_it_holds_the_lock_blocks_nobody(store_url: str, manager: SessionManager) -> None:
    await open_session(manager, "s")
    for number in range(5):
        worker = SessionWorker(store_url)
        await worker.update("s", 10 * number)
        burst = [asyncio.create_task(worker.update("s", 10 * number + step)) for step in range(1, 10)]
        await asyncio.sleep(random.uniform(0, 0.004))
        await worker.kill()
        await asyncio.gather(*burst, return_exceptions=True)
    seen = (await manager.view("t", "s"))[0].variables["seen"]
    assert len(seen) == len(set(seen)) >= 5
