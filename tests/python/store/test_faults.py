"""What a store does when its disk is full, its lock is held, or its caller goes away."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from storekit.make import change, entry, row
from storekit.postgres import PostgresServer

from python_bridge.errors import BridgeError
from python_bridge.store.sessions import SessionStore
from python_bridge.store.settings import StoreSettings
from python_bridge.store.statements import Transaction
from python_bridge.store.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["in the loop", "in the thread"])
async def lite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    settings = StoreSettings(
        url=f"sqlite:///{tmp_path}/x.db", power_safe=request.param == "in the thread", lock_timeout_s=20
    )
    store = await Store.open(settings)
    yield store
    await store.close()


class Holder:
    """Another process's lock, as seen by this one: a second connection in a transaction that writes."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


async def test_a_change_waits_for_the_lock_without_stopping_the_loop(lite: Store) -> None:
    sessions = SessionStore(lite)
    await sessions.create(row(), "{}", max_sessions=9)
    holder = Holder(lite.label)
    waiting = asyncio.create_task(sessions.commit(change(row())))
    for _ in range(200):  # the loop turns, and reads work, while the change waits
        await asyncio.sleep(0.001)
        assert await sessions.get("t", "s", now=2_000) == row()
    assert not waiting.done()
    holder.release()
    assert await waiting


async def test_the_first_use_waits_for_who_holds_the_whole_file(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db", lock_timeout_s=20))
    sessions = SessionStore(store)
    # As a process does that closes the file as the last one, or mends its log.
    holder = sqlite3.connect(store.label, isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    made = asyncio.create_task(sessions.create(row(), "{}", max_sessions=9))
    read = asyncio.create_task(sessions.get("t", "s", now=2_000))
    await asyncio.wait({made, read}, timeout=0.2)
    assert not made.done()
    assert not read.done()
    holder.execute("ROLLBACK")
    holder.close()
    await made
    await read
    await store.close()


async def test_a_store_that_stays_locked_is_unavailable_and_nothing_was_changed(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db", lock_timeout_s=0.2))
    sessions = SessionStore(store)
    await sessions.create(row(), "{}", max_sessions=9)
    holder = Holder(store.label)
    with pytest.raises(BridgeError, match="stayed locked") as refused:
        await sessions.commit(change(row()))
    assert (refused.value.kind, refused.value.retryable) == ("unavailable", True)
    assert refused.value.retry_after is not None
    holder.release()
    assert await sessions.get("t", "s", now=2_000) == row()
    assert await sessions.commit(change(row()))
    await store.close()


@pytest.mark.req("OWN-1")
async def test_a_cancelled_change_that_still_waits_is_not_made(lite: Store) -> None:
    sessions = SessionStore(lite)
    await sessions.create(row(), "{}", max_sessions=9)
    holder = Holder(lite.label)
    waiting = asyncio.create_task(sessions.commit(change(row())))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    holder.release()
    await sessions.create(row("later"), "{}", max_sessions=9)
    assert await sessions.get("t", "s", now=2_000) == row()


async def test_a_change_that_has_begun_outlasts_its_cancelled_caller(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db", power_safe=True))
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def operation(tx: Transaction) -> str:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return "made"

    task = asyncio.create_task(store.write(operation))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    assert await task == "made"
    await store.close()


@pytest.mark.req("FR2.3.3")
async def test_a_full_disk_refuses_the_change_and_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
    sessions = SessionStore(store)
    await sessions.create(row(), '{"n":0}', max_sessions=9)
    await _limit_pages(store)
    acknowledged, refused = await _fill(sessions)
    assert acknowledged > 0
    assert "disk is full" in refused.message
    assert (refused.kind, refused.retryable) == ("unavailable", True)
    snapshot = await sessions.snapshot("t", "s", now=2_000)
    assert snapshot is not None
    assert (snapshot[1], len(snapshot[2])) == (f'{{"n":{acknowledged}}}', acknowledged)
    assert await sessions.delete("t", "s")  # what frees space still works
    assert (await sessions.create(row(), "{}", max_sessions=9)).outcome == "created"
    await store.close()


async def _fill(sessions: SessionStore) -> tuple[int, BridgeError]:
    """Add entries until the store refuses one; return how many it took, and the error."""
    filler = '{"q":"' + "x" * 2_000 + '"}'
    for number in range(1, 500):
        added = change(row(version=number - 1), state=f'{{"n":{number}}}', next_seq=number)
        try:
            assert await sessions.commit(replace(added, entries=(entry(number - 1, filler),)))
        except BridgeError as error:
            return number - 1, error
    pytest.fail("the disk was never full")


async def test_a_change_that_does_not_fit_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
    sessions = SessionStore(store)
    await _limit_pages(store)
    sizes = [10, 200_000, 10]  # the second has no room in 40 pages, and is small enough to share a group
    results = await asyncio.gather(
        *(sessions.create(row(f"s{n}"), "x" * size, max_sessions=9) for n, size in enumerate(sizes)),
        return_exceptions=True,
    )
    assert [getattr(result, "outcome", type(result)) for result in results] == ["created", BridgeError, "created"]
    assert [found.id for found in await sessions.page("t", after="", limit=9, now=0)] == ["s0", "s2"]
    await store.close()


async def _limit_pages(store: Store) -> None:
    """Let the file grow to 40 pages of 4 KiB: to SQLite that is a full disk."""
    import sqlalchemy as sa

    def limit(tx: Transaction) -> None:
        tx.run(sa.text("PRAGMA max_page_count=40"), {}).fetchall()

    await store.write(limit)


async def test_a_closed_store_refuses_politely(tmp_path: Path) -> None:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
    await store.close()
    for refused in (SessionStore(store).get("t", "s", now=0), SessionStore(store).delete("t", "s")):
        with pytest.raises(BridgeError, match="closed"):
            await refused


async def test_no_descriptor_is_left_open_by_a_closed_store(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
        await SessionStore(store).get("t", "s", now=0)
        await SessionStore(store).snapshot("t", "s", now=0)
        await SessionStore(store).delete("t", "s")
        await store.close()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_server_that_dropped_its_idle_connections_is_met_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.new_database()
    store = await Store.open(StoreSettings(url=url))
    sessions = SessionStore(store)
    await sessions.create(row(), "{}", max_sessions=9)
    await sessions.get("t", "s", now=2_000)
    name = url.rpartition("/")[2]
    postgres_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert await sessions.commit(change(row()))
    assert await sessions.get("t", "s", now=2_000) == row(version=1)
    await store.close()
