"""Idempotency keys of calls outside of sessions."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from storekit.workers import Workers, refused

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.answers import Answers
from python_bridge.services.sessions.clock import SteadyClock
from python_bridge.services.sessions.limits import SessionLimits, SessionSettings
from python_bridge.services.sessions.refs import Ref
from python_bridge.store.sessions import SessionStore
from python_bridge.store.store import Store
from python_bridge.testing.client import BridgeClient

pytestmark = [pytest.mark.anyio, pytest.mark.req("FR2.2.3", "NFR2.1.2")]


def call(*script: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return {"program": {"kind": "scripted"}, "inputs": {"script": list(script), **inputs}}


async def test_a_repeated_call_gets_the_very_same_answer_on_any_worker(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    asked = call({"answer": (1, b"\x00")})
    first = await one.request("call", asked, idempotency_key="k")
    assert await one.request("call", asked, idempotency_key="k") == first
    assert await two.request("call", asked, idempotency_key="k") == first
    assert (await two.request("call", asked))["meta"] != first["meta"]


async def test_a_key_with_another_content_is_a_conflict_whose_work_is_not_done(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    await one.request("call", call({"answer": 1}), idempotency_key="k")
    for other in (call({"answer": 2}), call({"raise": "internal"})):
        error = await refused(two.request("call", other, idempotency_key="k"))
        assert (error.kind, error.retryable) == ("conflict", False)
    module = (await two.request("program.put", {"program": {"kind": "scripted"}}))["module"]
    asked = {"module": module, "inputs": call({"answer": 1})["inputs"]}
    assert (await refused(two.request("module.call", asked, idempotency_key="k"))).kind == "conflict"


async def test_calls_with_one_key_at_the_same_moment_work_once(client: BridgeClient) -> None:
    asked = call({"sleep_ms": 20}, {"answer": 1})
    answers = await asyncio.gather(*(client.request("call", asked, idempotency_key="k") for _ in range(8)))
    assert len({answer["meta"]["request_id"] for answer in answers}) == 1


async def test_workers_that_work_at_the_same_time_give_the_answer_that_was_kept_first(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    asked = call({"sleep_ms": 50}, {"answer": 1})
    first, second = await asyncio.gather(*(c.request("call", asked, idempotency_key="k") for c in (one, two)))
    assert first == second


async def test_errors_are_not_kept_and_tenants_are_apart(client: BridgeClient) -> None:
    failing = call({"raise": "lm_error"})
    for _ in range(2):
        assert (await refused(client.request("call", failing, idempotency_key="k"))).kind == "lm_error"
    first = await client.request("call", call({"answer": 1}), idempotency_key="k", tenant="a")
    other = await client.request("call", call({"answer": 2}), idempotency_key="k", tenant="b")
    assert (first["outputs"], other["outputs"]) == ({"answer": 1}, {"answer": 2})
    assert (await client.request("call", call({"answer": 3}), idempotency_key="k"))["outputs"] == {"answer": 3}


async def test_a_cancelled_call_leaves_its_key_free(client: BridgeClient) -> None:
    number = client.send("call", call({"stall": True}), idempotency_key="k")
    client.cancel(number)
    assert (await refused(client.response(number))).kind == "cancelled"
    assert (await client.request("call", call({"answer": 1}), idempotency_key="k"))["outputs"] == {"answer": 1}


async def test_a_wrong_key_is_refused(client: BridgeClient) -> None:
    for key in ("", "x" * 257, "line\nbreak"):
        assert (await refused(client.request("call", call(), idempotency_key=key))).kind == "invalid_request"


async def test_a_store_that_cannot_be_opened_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").mkdir()  # where a worker's store would be
    async with AsyncExitStack() as stack:
        client = await Workers(stack, f"sqlite:///{tmp_path}/sessions.db").client()
        error = await refused(client.request("call", call({"raise": "internal"}), idempotency_key="k"))
        assert error.kind == "unavailable"
        assert (await client.request("call", call({"answer": 1})))["outputs"] == {"answer": 1}


class Time:
    """A clock that the test sets."""

    now = 1_000.0

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.now, lambda: self.now)


async def _gave(value: Any) -> Any:
    return value


async def test_a_key_holds_for_ten_minutes_and_so_many_are_kept(store: Store) -> None:
    time = Time()
    answers = Answers(SessionStore(store), SessionSettings(max_answers=3), time.clock())
    for number in range(3):
        assert await answers.once(Ref("t", "", f"k{number}", "d"), lambda: _gave(1)) == 1
    with pytest.raises(BridgeError, match="as many as there may be") as full:
        await answers.once(Ref("t", "", "k3", "d"), lambda: _gave(1))
    assert full.value.kind == "limit_exceeded"
    assert await answers.once(Ref("t", "", "k0", "d"), lambda: _gave(2)) == 1
    assert await answers.once(Ref("other", "", "k3", "d"), lambda: _gave(3)) == 3
    time.now += 601
    answers = Answers(SessionStore(store), SessionSettings(max_answers=3), time.clock())
    assert await answers.once(Ref("t", "", "k0", "other content"), lambda: _gave(4)) == 4


async def test_an_answer_that_is_too_large_is_not_kept(store: Store) -> None:
    settings = SessionSettings(limits=SessionLimits(max_bytes=100))
    answers = Answers(SessionStore(store), settings, SteadyClock())
    with pytest.raises(BridgeError, match="without a key") as large:
        await answers.once(Ref("t", "", "k", "d"), lambda: _gave("x" * 200))
    assert large.value.kind == "limit_exceeded"
