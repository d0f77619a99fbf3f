"""Sessions in a store, on SQLite and on PostgreSQL."""

import pytest
from storekit.make import FAR, answer, change, entry, row

from python_bridge.errors import BridgeError
from python_bridge.store.sessions import SessionStore
from python_bridge.store.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def sessions(store: Store) -> SessionStore:
    return SessionStore(store)


@pytest.mark.req("FR2.3.1", "FR2.3.3")
async def test_what_was_created_is_claimed_whole(sessions: SessionStore) -> None:
    made = row(next_seq=2, lm="fast", adapter="json")
    assert (await sessions.create(made, '{"v":1}', (entry(0), entry(1)), max_sessions=9)).outcome == "created"

    claim = await sessions.claim("t", "s", "w2", now=2_000)

    assert claim is not None
    assert (claim.row.epoch, claim.row.owner, claim.row.lm, claim.state) == (2, "w2", "fast", '{"v":1}')
    assert await sessions.entries(claim.row) == [entry(0), entry(1)]


@pytest.mark.req("OWN-3")
async def test_a_change_of_the_owner_before_is_fenced_off_and_writes_nothing(sessions: SessionStore) -> None:
    await sessions.create(row(), "{}", max_sessions=9)
    stale = await sessions.claim("t", "s", "w1", now=2_000)
    fresh = await sessions.claim("t", "s", "w2", now=2_000)
    assert stale is not None
    assert fresh is not None

    late = change(stale.row, state='{"late":1}', entries=(entry(0),), next_seq=1, answer=answer("k"))
    assert not await sessions.commit(late)

    snapshot = await sessions.snapshot("t", "s", now=2_000)
    assert snapshot == (fresh.row, "{}", [])
    assert await sessions.answer("t", "s", "k", now=2_000) is None
    assert await sessions.commit(change(fresh.row, state='{"new":1}'))


async def test_the_same_version_is_written_once(sessions: SessionStore) -> None:
    await sessions.create(row(), "{}", max_sessions=9)
    assert await sessions.commit(change(row(), state='{"n":1}'))
    assert not await sessions.commit(change(row(), state='{"n":2}'))
    assert (await sessions.snapshot("t", "s", now=2_000) or ("", "", ""))[1] == '{"n":1}'


async def test_trimmed_entries_are_gone_and_the_others_kept(sessions: SessionStore) -> None:
    await sessions.create(row(next_seq=3), "{}", tuple(entry(seq) for seq in range(3)), max_sessions=9)
    await sessions.commit(change(row(), first_seq=2, next_seq=4, entries=(entry(3),), trims=True))
    found = await sessions.get("t", "s", now=2_000)
    assert found is not None
    assert [kept.seq for kept in await sessions.entries(found)] == [2, 3]
    assert [kept.seq for kept in await sessions.entries(found, first=3)] == [3]
    assert [kept.seq for kept in await sessions.entries(found, limit=1)] == [2]


async def test_an_answer_lies_in_the_same_transaction_as_its_change(sessions: SessionStore) -> None:
    await sessions.create(row(), "{}", max_sessions=9)
    await sessions.commit(change(row(), answer=answer("k", '"done"', expires_at=5_000)))

    assert await sessions.answer("t", "s", "k", now=2_000) == answer("k", '"done"', expires_at=5_000)
    assert await sessions.answer("t", "other", "k", now=2_000) is None
    assert await sessions.answer("t", "s", "k", now=5_000) is None
    claim = await sessions.claim("t", "s", "w2", now=2_000)
    assert claim is not None
    assert (claim.digests, claim.complete) == ({"k": ("d", 5_000)}, True)


async def test_an_open_with_a_key_happens_once_whatever_id_it_makes(sessions: SessionStore) -> None:
    first = await sessions.create(row("a"), "{}", max_sessions=9, answer=answer("k", '"a"'))
    again = await sessions.create(row("b"), "{}", max_sessions=9, answer=answer("k", '"b"'))
    assert (first.outcome, again.outcome) == ("created", "answered")
    assert again.answer == answer("k", '"a"')
    assert await sessions.get("t", "b", now=2_000) is None


async def test_an_id_that_is_taken_leaves_no_answer_behind(sessions: SessionStore) -> None:
    await sessions.create(row(), '{"first":1}', max_sessions=9)
    assert (await sessions.create(row(), "{}", max_sessions=9, answer=answer("k"))).outcome == "exists"
    assert await sessions.answer("t", "", "k", now=2_000) is None
    assert (await sessions.snapshot("t", "s", now=2_000) or ("", ""))[1] == '{"first":1}'


@pytest.mark.req("FR2.3.4")
async def test_a_tenant_may_have_so_many_sessions(sessions: SessionStore) -> None:
    for name in ("a", "b"):
        await sessions.create(row(name), "{}", max_sessions=2)
    with pytest.raises(BridgeError) as refused:
        await sessions.create(row("c"), "{}", max_sessions=2)
    assert (refused.value.kind, refused.value.details) == ("limit_exceeded", {"limit": "max_sessions"})
    assert (await sessions.create(row("c", tenant="u"), "{}", max_sessions=2)).outcome == "created"
    await sessions.delete("t", "a")
    assert (await sessions.create(row("c"), "{}", max_sessions=2)).outcome == "created"


@pytest.mark.req("FR2.3.4")
async def test_an_expired_session_is_not_found_and_its_id_is_free(sessions: SessionStore) -> None:
    await sessions.create(row(expires_at=3_000, next_seq=1), '{"old":1}', (entry(0),), max_sessions=1)
    assert await sessions.claim("t", "s", "w2", now=3_000) is None
    assert await sessions.get("t", "s", now=3_000) is None

    made = await sessions.create(row(created_at=3_001), '{"new":1}', max_sessions=1)

    assert made.outcome == "created"
    assert await sessions.snapshot("t", "s", now=3_001) == (row(created_at=3_001), '{"new":1}', [])


@pytest.mark.req("FR2.3.4")
async def test_sweeping_takes_what_expired_and_nothing_else(sessions: SessionStore, store: Store) -> None:
    for number in range(60):
        expires_at = 3_000 if number < 55 else FAR
        await sessions.create(
            row(f"s{number:02}", expires_at=expires_at, next_seq=1), "{}", (entry(0),), max_sessions=99
        )
    await sessions.commit(change(row("s59"), answer=answer("old", expires_at=3_000)))

    assert await sessions.sweep(now=4_000) + await sessions.sweep(now=4_000) == 55
    assert await sessions.sweep(now=4_000) == 0

    assert [kept.id for kept in await sessions.page("t", after="", limit=100, now=0)] == [
        f"s{n}" for n in range(55, 60)
    ]
    assert await _count(store) == {"sessions": 5, "session_states": 5, "session_entries": 5, "answers": 0}


async def test_deleting_takes_everything_but_the_answer_to_the_deletion(sessions: SessionStore, store: Store) -> None:
    await sessions.create(row(next_seq=1), "{}", (entry(0),), max_sessions=9)
    await sessions.commit(change(row(), next_seq=1, answer=answer("k")))
    assert await sessions.delete("t", "s", answer("closing"))
    assert not await sessions.delete("t", "s")
    await sessions.delete("t", "s", answer("closing"))
    assert await _count(store) == {"sessions": 0, "session_states": 0, "session_entries": 0, "answers": 1}


async def test_a_listing_goes_page_by_page_within_a_tenant(sessions: SessionStore) -> None:
    for name in ("a", "b", "c"):
        await sessions.create(row(name), "{}", max_sessions=9)
    await sessions.create(row("z", tenant="other"), "{}", max_sessions=9)
    first = await sessions.page("t", after="", limit=2, now=2_000)
    rest = await sessions.page("t", after=first[-1].id, limit=2, now=2_000)
    assert [found.id for found in first + rest] == ["a", "b", "c"]


async def test_large_values_come_back_as_they_were(sessions: SessionStore) -> None:
    large = '{"v":"' + "x" * 3_000_000 + '"}'
    await sessions.create(row(bytes=len(large)), large, max_sessions=9)
    body = '{"q":"' + "é" * 500_000 + '"}'
    assert await sessions.commit(change(row(), state=large, next_seq=1, bytes=10**6, entries=(entry(0, body),)))
    snapshot = await sessions.snapshot("t", "s", now=2_000)
    assert snapshot is not None
    assert (snapshot[1], snapshot[2]) == (large, [entry(0, body)])


async def _count(store: Store) -> dict[str, int]:
    import sqlalchemy as sa

    from python_bridge.store.tables import metadata

    return {
        table.name: await store.read(
            lambda tx, table=table: tx.run(sa.select(sa.func.count()).select_from(table), {}).fetchone()[0]
        )
        for table in metadata.sorted_tables
    }
