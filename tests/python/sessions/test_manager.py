"""Sessions over a store: order, ownership, idempotency, expiry, limits."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.clock import SteadyClock
from python_bridge.services.sessions.limits import SessionLimits, SessionSettings
from python_bridge.services.sessions.manager import Ref, SessionManager, Work
from python_bridge.services.sessions.state import SessionState
from python_bridge.store.sessions import SessionStore
from python_bridge.store.settings import StoreSettings
from python_bridge.store.store import Store

pytestmark = pytest.mark.anyio


class Time:
    """A clock that tests set: wall time and elapsed time apart, as in a machine whose clock is changed."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.elapsed = 50.0

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.elapsed)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds


MakeManager = Callable[..., SessionManager]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def worker(store: Store, time: Time) -> MakeManager:
    """Makes managers, as of several workers, over one store."""

    def make(owner: str = "w", **settings: Any) -> SessionManager:
        return SessionManager(SessionStore(store), SessionSettings(**settings), owner=owner, clock=time.clock())

    return make


async def open_session(manager: SessionManager, session: str = "s", **values: Any) -> None:
    now = manager.clock.now()
    state = SessionState("t", session, created_at=now, updated_at=now, **values)
    assert await manager.open(state, Ref("t", ""), lambda made: made.id) == session


def add(amount: int) -> Work:
    """Work that adds to the variable `n` and answers the sum."""

    async def work(state: SessionState) -> tuple[SessionState, Any]:
        total = state.variables.get("n", 0) + amount
        return state.with_variables({"n": total}), total

    return work


async def value_of(manager: SessionManager, session: str = "s") -> Any:
    return (await manager.view("t", session))[0].variables.get("n")


S = Ref("t", "s")


@pytest.mark.req("FR2.3.1", "FR2.3.3")
async def test_a_session_goes_on_in_another_worker(worker: MakeManager) -> None:
    first, second = worker("w1"), worker("w2")
    await open_session(first, lm="fast")
    await first.run(S, add(1))
    assert await second.run(S, add(2)) == 3
    state, row = await first.view("t", "s")
    assert (state.variables, state.lm, row.owner, row.epoch) == ({"n": 3}, "fast", "w2", 2)


@pytest.mark.req("FR2.3.1")
async def test_calls_on_one_session_run_one_at_a_time_in_the_order_of_coming(worker: MakeManager) -> None:
    manager, running, order = worker(), 0, []
    await open_session(manager)

    def step(number: int) -> Work:
        async def work(state: SessionState) -> tuple[SessionState, Any]:
            nonlocal running
            running += 1
            assert running == 1
            for _ in range(number % 3):
                await asyncio.sleep(0)
            order.append(number)
            running -= 1
            return state.with_variables({"n": state.variables.get("n", 0) + 1}), None

        return work

    await asyncio.gather(*(manager.run(S, step(number)) for number in range(30)))
    assert order == list(range(30))
    assert await value_of(manager) == 30
    assert len(manager.turns) == 0


async def test_sessions_do_not_wait_for_each_other(worker: MakeManager) -> None:
    manager, gate = worker(), asyncio.Event()
    await open_session(manager, "a")
    await open_session(manager, "b")

    async def wait(state: SessionState) -> tuple[SessionState, Any]:
        await gate.wait()
        return state, None

    waiting = asyncio.create_task(manager.run(Ref("t", "a"), wait))
    assert await manager.run(Ref("t", "b"), add(1)) == 1
    gate.set()
    await waiting


@pytest.mark.req("OWN-3")
async def test_a_worker_that_lost_the_session_in_mid_call_changes_nothing(worker: MakeManager) -> None:
    stale, fresh = worker("w1"), worker("w2")
    await open_session(stale)

    async def overtaken(state: SessionState) -> tuple[SessionState, Any]:
        assert await fresh.run(S, add(10)) == 10
        return state.with_variables({"n": "lost"}), None

    with pytest.raises(BridgeError, match="taken over by another worker") as refused:
        await stale.run(S, overtaken)
    assert (refused.value.kind, refused.value.retryable) == ("conflict", True)
    assert await value_of(stale) == 10
    assert await stale.run(S, add(1)) == 11  # the repeated call is applied to the newer state


async def test_a_taken_over_session_fences_its_former_owner_before_it_writes(worker: MakeManager) -> None:
    stale, fresh = worker("w1"), worker("w2")
    await open_session(stale)
    gate = asyncio.Event()

    async def wait(state: SessionState) -> tuple[SessionState, Any]:
        await gate.wait()
        return state.with_variables({"n": "new"}), None

    slow = asyncio.create_task(fresh.run(S, wait))
    await asyncio.sleep(0.05)
    with pytest.raises(BridgeError, match="taken over"):
        await stale.run(S, add(1))
    gate.set()
    await slow
    assert await value_of(fresh) == "new"


@pytest.mark.req("OWN-1")
async def test_failed_and_cancelled_calls_change_nothing(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager, variables={"list": [1]})
    await manager.run(S, add(1))
    before, row = await manager.view("t", "s")
    hanging = asyncio.Event()

    async def fail(state: SessionState) -> tuple[SessionState, Any]:
        raise BridgeError("lm_error", "the LM failed")

    async def hang(state: SessionState) -> tuple[SessionState, Any]:
        hanging.set()
        await asyncio.Event().wait()
        return state.with_variables({"n": 99}), None

    with pytest.raises(BridgeError, match="the LM failed"):
        await manager.run(S, fail)
    task = asyncio.create_task(manager.run(S, hang))
    await hanging.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await manager.view("t", "s") == (before, row)
    assert await manager.run(S, add(1)) == 2


@pytest.mark.req("FR2.3.3")
async def test_a_repeated_request_gets_its_first_answer_and_is_done_once(worker: MakeManager) -> None:
    manager, other = worker("w1"), worker("w2")
    await open_session(manager)
    keyed = replace(S, idempotency_key="k1", digest="d1")
    assert [await manager.run(keyed, add(5)) for _ in range(3)] == [5, 5, 5]
    assert await other.run(keyed, add(5)) == 5
    assert await other.run(replace(S, idempotency_key="k2", digest="d1"), add(5)) == 10
    assert await value_of(manager) == 10


async def test_requests_with_one_key_at_the_same_moment_are_done_once(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    keyed = replace(S, idempotency_key="k1", digest="d1")
    assert await asyncio.gather(*(manager.run(keyed, add(5)) for _ in range(10))) == [5] * 10
    assert await value_of(manager) == 5


async def test_a_key_with_other_params_is_a_conflict(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    await manager.run(replace(S, idempotency_key="k", digest="d1"), add(1))
    with pytest.raises(BridgeError, match="was used for another request") as refused:
        await manager.run(replace(S, idempotency_key="k", digest="d2"), add(1))
    assert (refused.value.kind, refused.value.retryable) == ("conflict", False)


async def test_keys_of_tenants_and_sessions_are_apart(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    await open_session(manager, "s2")
    for session in ("s", "s2"):
        assert await manager.run(Ref("t", session, "k", f"digest of {session}"), add(1)) == 1
    with pytest.raises(BridgeError) as refused:
        await manager.run(Ref("other tenant", "s"), add(1))
    assert refused.value.kind == "not_found"


async def test_a_key_holds_for_ten_minutes(worker: MakeManager, time: Time) -> None:
    manager = worker()
    await open_session(manager)
    keyed = replace(S, idempotency_key="k", digest="d")
    assert await manager.run(keyed, add(1)) == 1
    time.pass_(599)
    assert await manager.run(keyed, add(1)) == 1
    time.pass_(2)
    assert await manager.run(keyed, add(1)) == 2


async def test_more_keys_than_a_worker_keeps_in_memory_still_hold(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    for number in range(4_200):
        await manager.run(Ref("t", "s", f"k{number}", "d"), add(1))
    for number in (0, 1, 2_000, 4_199):
        assert await manager.run(Ref("t", "s", f"k{number}", "d"), add(1)) == number + 1
        assert await worker("w2").run(Ref("t", "s", f"k{number}", "d"), add(1)) == number + 1


async def test_opening_twice_with_a_key_gives_one_session(worker: MakeManager) -> None:
    manager = worker()
    ref, now = Ref("t", "", "k", "d"), manager.clock.now()
    ids = [await manager.open(SessionState("t", f"made{n}", now, now), ref, lambda made: made.id) for n in range(3)]
    assert ids == ["made0"] * 3
    with pytest.raises(BridgeError, match="already") as refused:
        await open_session(manager, "made0")
    assert (refused.value.kind, refused.value.retryable) == ("conflict", False)


async def test_closing_waits_for_its_turn_and_a_closed_session_is_gone(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    keyed = replace(S, idempotency_key="k", digest="d")
    call, closing = await asyncio.gather(manager.run(S, add(1)), manager.close(keyed, lambda found: found))
    assert (call, closing) == (1, True)
    assert await manager.close(keyed, lambda found: found) is True  # the same request, the same answer
    assert await manager.close(S, lambda found: found) is False
    with pytest.raises(BridgeError, match="never opened, was closed, or has expired"):
        await manager.run(S, add(1))


@pytest.mark.req("OWN-6")
async def test_a_call_from_inside_a_call_on_its_own_session_never_waits(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager)
    nested: list[BridgeError] = []

    async def work(state: SessionState) -> tuple[SessionState, Any]:
        for inner in (manager.run(S, add(1)), manager.close(S, lambda found: found)):
            with pytest.raises(BridgeError) as refused:
                await inner
            nested.append(refused.value)
        assert (await manager.view("t", "s"))[0].variables == {}  # looking is allowed
        return state, "done"

    assert await manager.run(S, work) == "done"
    assert [(error.kind, error.retryable) for error in nested] == [("conflict", False)] * 2


async def test_a_nested_call_is_known_by_what_the_client_tells(worker: MakeManager) -> None:
    manager, gate = worker(), asyncio.Event()
    await open_session(manager)

    async def in_tool(state: SessionState) -> tuple[SessionState, Any]:
        with manager.turns.in_tool(("t", "s")):
            await gate.wait()
        return state, None

    outer = asyncio.create_task(manager.run(S, in_tool))
    await asyncio.sleep(0)
    with pytest.raises(BridgeError) as told:
        await manager.run(replace(S, within=("s",)), add(1))
    with pytest.raises(BridgeError) as silent:
        await manager.run(S, add(1))
    other = asyncio.create_task(manager.run(replace(S, within=()), add(1)))  # says that it is not nested: it waits
    assert (told.value.kind, told.value.retryable) == ("conflict", False)
    assert (silent.value.kind, silent.value.retryable) == ("conflict", True)
    gate.set()
    await outer
    assert await other == 1


async def test_a_full_line_is_overloaded_and_a_cancelled_waiter_leaves_it(worker: MakeManager) -> None:
    manager, gate = worker(max_waiting=2), asyncio.Event()
    await open_session(manager)

    async def wait(state: SessionState) -> tuple[SessionState, Any]:
        await gate.wait()
        return state, None

    tasks = [asyncio.create_task(manager.run(S, wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(BridgeError) as refused:
        await manager.run(S, add(1))
    assert (refused.value.kind, refused.value.retry_after is not None) == ("overloaded", True)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    gate.set()
    await asyncio.gather(tasks[0], tasks[2])
    assert len(manager.turns) == 0


@pytest.mark.req("FR2.3.4")
async def test_a_session_ends_when_it_is_idle_and_use_keeps_it_alive(worker: MakeManager, time: Time) -> None:
    manager = worker()
    await open_session(manager, limits=SessionLimits(ttl_ms=100_000, idle_ms=10_000))
    for _ in range(5):
        time.pass_(9)
        await manager.run(S, add(1))
    time.pass_(11)
    with pytest.raises(BridgeError, match="expired"):
        await manager.run(S, add(1))


@pytest.mark.req("FR2.3.4")
async def test_a_session_ends_with_its_ttl_however_busy_it_is(worker: MakeManager, time: Time) -> None:
    manager = worker()
    await open_session(manager, limits=SessionLimits(ttl_ms=20_000, idle_ms=10_000))
    for _ in range(3):
        time.pass_(6)
        await manager.run(S, add(1))
    time.pass_(3)
    with pytest.raises(BridgeError, match="expired"):
        await manager.run(S, add(1))
    assert await manager.sweep() == 1
    assert await manager.page("t", "", 10) == []


@pytest.mark.req("FR2.3.4")
@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
async def test_a_clock_that_is_set_ends_no_session(worker: MakeManager, time: Time, jump_s: float) -> None:
    manager = worker()
    await open_session(manager, limits=SessionLimits(ttl_ms=100_000, idle_ms=10_000))
    time.wall += jump_s
    assert await manager.run(S, add(1)) == 1
    assert await manager.sweep() == 0
    time.pass_(11)  # and it still ends when it is really idle
    with pytest.raises(BridgeError, match="expired"):
        await manager.run(S, add(1))


async def test_a_worker_whose_clock_is_behind_ends_a_session_late_never_early(worker: MakeManager, time: Time) -> None:
    ahead = worker("w1")
    await open_session(ahead, limits=SessionLimits(ttl_ms=100_000, idle_ms=10_000))
    time.wall -= 3_600
    behind = worker("w2")
    assert await behind.run(S, add(1)) == 1
    state, _ = await behind.view("t", "s")
    assert state.updated_at == int((time.wall + 3_600) * 1000)


@pytest.mark.req("FR2.3.4")
async def test_a_session_above_its_size_is_refused_and_stays_as_it_was(worker: MakeManager) -> None:
    manager = worker()
    await open_session(manager, limits=SessionLimits(max_bytes=2_000))
    await manager.run(S, add(1))

    async def grow(state: SessionState) -> tuple[SessionState, Any]:
        return state.with_variables({"big": "x" * 3_000}), None

    with pytest.raises(BridgeError) as refused:
        await manager.run(S, grow)
    assert (refused.value.kind, refused.value.details) == ("limit_exceeded", {"limit": "max_bytes"})
    assert await manager.run(S, add(1)) == 2


async def test_the_history_is_stored_entry_by_entry_and_cut_to_its_budget(worker: MakeManager) -> None:
    manager, other = worker("w1"), worker("w2")
    await open_session(manager, limits=SessionLimits(history_entries=5))

    def say(number: int) -> Work:
        async def work(state: SessionState) -> tuple[SessionState, Any]:
            return state.with_entry({"q": number}, f'{{"q":{number}}}'), len(state.history.entries)

        return work

    for number in range(12):
        await (manager if number < 8 else other).run(S, say(number))
    for seen in (manager, other):
        history = (await seen.view("t", "s"))[0].history
        assert [(entry.seq, entry.fields["q"]) for entry in history.entries] == [(n, n) for n in range(7, 12)]


async def test_a_worker_keeps_few_sessions_in_memory_and_reads_the_others_again(worker: MakeManager) -> None:
    manager = worker(max_owned=3)
    for number in range(10):
        await open_session(manager, f"s{number}")
        await manager.run(Ref("t", f"s{number}"), add(number))
    assert manager.owned_sessions == 3
    assert [await manager.run(Ref("t", f"s{number}"), add(1)) for number in range(10)] == list(range(1, 11))
    assert manager.owned_sessions == 3


@pytest.fixture
async def lite(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/lite.db"))
    yield store
    await store.close()


@pytest.mark.req("FR2.3.4")
async def test_ten_thousand_sessions_opened_and_closed_leave_nothing(lite: Store) -> None:
    manager = SessionManager(SessionStore(lite), SessionSettings(), owner="w")
    process = psutil.Process()

    async def life(number: int) -> None:
        await open_session(manager, f"s{number}")
        await manager.run(Ref("t", f"s{number}"), add(1))
        assert await manager.close(Ref("t", f"s{number}"), lambda found: found)

    async def lives(first: int, last: int) -> None:
        for start in range(first, last, 100):
            await asyncio.gather(*(life(number) for number in range(start, start + 100)))

    await lives(0, 2_000)
    before = process.memory_info().rss
    await lives(2_000, 10_000)
    assert process.memory_info().rss - before < 32 * 1024 * 1024
    assert manager.owned_sessions == 0
    assert len(manager.turns) == 0
    assert await manager.page("t", "", 10) == []


async def test_two_clients_on_one_session_by_two_workers_lose_no_acknowledged_change(worker: MakeManager) -> None:
    workers = [worker("w1"), worker("w2")]
    await open_session(workers[0])
    acknowledged = 0

    async def client(manager: SessionManager) -> None:
        nonlocal acknowledged
        done = 0
        while done < 40:
            try:
                await manager.run(S, add(1))
            except BridgeError as error:
                if error.kind != "conflict":
                    raise
                await asyncio.sleep((error.retry_after or 0) * 0.1)
                continue
            done, acknowledged = done + 1, acknowledged + 1

    await asyncio.wait_for(asyncio.gather(*(client(manager) for manager in workers)), 60)
    assert await value_of(workers[0]) == acknowledged == 80
