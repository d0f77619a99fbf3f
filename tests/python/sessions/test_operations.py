"""Sessions over the protocol, with a whole worker in memory."""

import asyncio
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from storekit.workers import Workers, refused

from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker

pytestmark = pytest.mark.anyio

PROGRAM = {"kind": "scripted"}
# Offsets carry these over the ends of the calendar.
BEFORE_TIME = {"fields": {}, "at": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))}
AFTER_TIME = {"fields": {}, "at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14)))}


@pytest.mark.req("FR2.3.1")
async def test_a_session_is_opened_described_listed_and_closed(client: BridgeClient) -> None:
    opened = await client.request("session.open", {"session": "s1", "lm": "fast", "variables": {"a": 1, "b": [2]}})
    assert (opened["session"], opened["lm"], opened["variables"]) == ("s1", "fast", ["a", "b"])
    assert opened["created_at"] <= datetime.now(UTC) < opened["expires_at"]
    assert await client.request("session.describe", {"session": "s1"}) == opened

    other = await client.request("session.open")
    assert len(other["session"]) == 32

    listed = await client.request("session.list", {"limit": 1})
    rest = await client.request("session.list", {"after": listed["next"]})
    found = listed["sessions"] + rest["sessions"]
    assert {item["session"] for item in found} == {"s1", other["session"]}
    assert rest["next"] is None

    assert await client.request("session.close", {"session": "s1"}) == {"closed": True}
    assert await client.request("session.close", {"session": "s1"}) == {"closed": False}
    assert (await refused(client.request("session.attach", {"session": "s1"}))).kind == "not_found"


@pytest.mark.req("FR2.3.1", "FR2.3.3")
async def test_variables_of_every_kind_come_back_in_another_worker(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    values = {
        "text": "é\u0000",
        "whole": 1.0,
        "big": 2**80,
        "bytes": b"\x00\xff",
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "tuple": (1, (2,)),
        "set": frozenset({1}),
        "tagged": {"$type": "mine"},
        "deep": {"z": 1, "a": [None, True, float("inf")]},
    }
    await one.request("session.open", {"session": "s", "variables": {"gone": 1}})
    await one.request("session.put", {"session": "s", "variables": values, "delete": ["gone", "never"]})
    got = await two.request("session.get", {"session": "s"})
    assert got["variables"] == values
    assert list(got["variables"]["deep"]) == ["z", "a"]
    assert type(got["variables"]["whole"]) is float
    some = await two.request("session.get", {"session": "s", "names": ["big", "none"]})
    assert some == {"variables": {"big": 2**80}}


async def test_lm_and_adapter_are_set_and_taken_away(client: BridgeClient) -> None:
    await client.request("session.open", {"session": "s", "lm": "fast", "adapter": "json"})
    kept = await client.request("session.put", {"session": "s"})
    assert (kept["lm"], kept["adapter"]) == ("fast", "json")
    changed = await client.request("session.put", {"session": "s", "lm": "", "adapter": "xml"})
    assert (changed["lm"], changed["adapter"]) == (None, "xml")


@pytest.mark.req("FR1.1.4")
async def test_a_history_is_appended_paged_and_trimmed(client: BridgeClient) -> None:
    await client.request("session.open", {"session": "s", "limits": {"history_entries": 4}})
    entries = [{"question": f"q{n}", "answer": b"\x01"} for n in range(6)]
    stands = await client.request("session.append", {"session": "s", "entries": entries})
    assert stands == {"entries": 4, "first": 2, "next": 6}
    page = await client.request("session.history", {"session": "s", "limit": 3})
    assert [entry["seq"] for entry in page["entries"]] == [2, 3, 4]
    assert page["entries"][0]["fields"] == entries[2]
    rest = await client.request("session.history", {"session": "s", "after": page["next"]})
    assert ([entry["seq"] for entry in rest["entries"]], rest["next"]) == ([5], None)
    assert await client.request("session.trim", {"session": "s", "keep": 1}) == {"entries": 1, "first": 5, "next": 6}


async def test_touching_moves_the_end_and_limits_are_the_workers_at_most(workers: Workers) -> None:
    client = await workers.client(session_idle_ms=60_000)
    opened = await client.request("session.open", {"session": "s", "limits": {"idle_ms": 5_000}})
    touched = await client.request("session.touch", {"session": "s"})
    assert touched["expires_at"] >= opened["expires_at"]
    error = await refused(client.request("session.open", {"limits": {"idle_ms": 60_001}}))
    assert (error.kind, "from 1 to 60000" in error.message) == ("invalid_request", True)


@pytest.mark.req("FR2.3.1", "FR1.1.4")
async def test_calls_add_to_the_history_and_the_usage_and_take_the_lm(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    await one.request("session.open", {"session": "s", "lm": "slow", "adapter": "json"})
    module = (await one.request("program.put", {"program": PROGRAM}))["module"]
    inputs = {"script": [{"answer": "yes"}]}

    first = await one.request("module.call", {"module": module, "inputs": inputs}, session="s")
    again = {"program": PROGRAM, "inputs": inputs, "options": {"lm": "other"}}
    second = await two.request("call", again, session="s")

    assert (first["meta"]["model"], first["meta"]["adapter"]) == ("slow", "json")
    assert (second["meta"]["model"], second["meta"]["adapter"]) == ("other", "json")
    session = await one.request("session.describe", {"session": "s"})
    assert (session["usage"]["calls"], session["history"]["entries"]) == (2, 2)
    history = await one.request("session.history", {"session": "s"})
    assert history["entries"][0]["fields"] == {**inputs, "answer": "yes"}


async def test_a_session_brings_its_programs_to_a_worker_that_has_never_seen_them(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    programs = [{"program": PROGRAM, "state": {"predict": {"demos": []}}}, {"program": {"kind": "other"}}]
    opened = await one.request("session.open", {"session": "s", "programs": programs})
    for module in opened["programs"]:
        answer = await two.request("module.call", {"module": module, "inputs": {"n": 1}}, session="s")
        assert answer["outputs"] == {"answer": {"n": 1}}
    error = await refused(two.request("module.call", {"module": "0" * 64, "inputs": {}}, session="s"))
    assert (error.kind, error.need) == ("not_found", "program")
    dropped = await one.request("session.put", {"session": "s", "drop_programs": opened["programs"][:1]})
    assert dropped["programs"] == opened["programs"][1:]


@pytest.mark.req("OWN-1")
async def test_failed_cancelled_and_late_calls_leave_the_session_as_it_was(client: BridgeClient) -> None:
    await client.request("session.open", {"session": "s"})
    before = await client.request("session.describe", {"session": "s"})
    call = {"program": PROGRAM, "inputs": {"script": [{"raise": "lm_error"}]}}
    assert (await refused(client.request("call", call, session="s"))).kind == "lm_error"
    stall = {"program": PROGRAM, "inputs": {"script": [{"stall": True}]}}
    assert (await refused(client.request("call", stall, session="s", deadline_ms=30))).kind == "timeout"
    number = client.send("call", stall, session="s")
    waiting = client.send("session.append", {"session": "s", "entries": [{"q": 1}]})
    client.cancel(number)
    assert (await refused(client.response(number))).kind == "cancelled"
    assert (await client.response(waiting))["entries"] == 1
    after = await client.request("session.describe", {"session": "s"})
    assert after["usage"] == before["usage"]


@pytest.mark.req("OWN-1", "FR2.3.3")
async def test_a_client_that_goes_in_mid_call_leaves_the_session_as_it_was_and_free(workers: Workers) -> None:
    gone, other = await workers.client(), await workers.client()
    await gone.request("session.open", {"session": "s"})
    gone.send("call", {"program": PROGRAM, "inputs": {"script": [{"stall": True}]}}, session="s")
    waiting = gone.send("session.append", {"session": "s", "entries": [{"q": "of the one that went"}]})
    while (await gone.request("worker/status"))["in_flight"] != 2:
        pass
    gone.close()
    assert (await refused(gone.response(waiting))).kind == "worker_lost"
    assert (await other.request("session.append", {"session": "s", "entries": [{"q": 1}]}))["entries"] == 1
    assert (await other.request("session.describe", {"session": "s"}))["usage"]["calls"] == 0


@pytest.mark.req("OWN-1")
async def test_work_that_pays_no_heed_to_its_cancellation_changes_nothing_either(client: BridgeClient) -> None:
    await client.request("session.open", {"session": "s"})
    stubborn = {"program": PROGRAM, "inputs": {"script": [{"stubborn": 1}, {"answer": "late"}]}}
    number = client.send("call", stubborn, session="s")
    while (await client.request("worker/status"))["in_flight"] != 1:
        pass
    client.cancel(number)
    assert (await refused(client.response(number))).kind == "cancelled"
    assert (await refused(client.request("call", stubborn, session="s", deadline_ms=30))).kind == "timeout"
    assert (await client.request("session.append", {"session": "s", "entries": [{"q": 1}]}))["entries"] == 1


@pytest.mark.req("FR2.3.3")
async def test_a_repeated_call_with_its_key_runs_once_on_whatever_worker(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    await one.request("session.open", {"session": "s"})
    call = {"program": PROGRAM, "inputs": {"x": b"\x00", "y": (1, 2)}}
    first = await one.request("call", call, session="s", idempotency_key="k")
    assert await one.request("call", call, session="s", idempotency_key="k") == first
    assert await two.request("call", call, session="s", idempotency_key="k") == first
    assert (await two.request("session.describe", {"session": "s"}))["usage"]["calls"] == 1
    other = {"program": PROGRAM, "inputs": {"x": 2}}
    error = await refused(two.request("call", other, session="s", idempotency_key="k"))
    assert (error.kind, error.retryable) == ("conflict", False)


async def test_opening_with_a_key_twice_opens_once(workers: Workers) -> None:
    one, two = await workers.client(), await workers.client()
    first = await one.request("session.open", {"variables": {"a": 1}}, idempotency_key="k")
    assert await two.request("session.open", {"variables": {"a": 1}}, idempotency_key="k") == first
    assert len((await one.request("session.list"))["sessions"]) == 1


async def test_tenants_do_not_see_each_other(client: BridgeClient) -> None:
    await client.request("session.open", {"session": "s", "variables": {"mine": 1}}, tenant="a")
    await client.request("session.open", {"session": "s", "variables": {"yours": 2}}, tenant="b")
    assert (await client.request("session.get", {"session": "s"}, tenant="a"))["variables"] == {"mine": 1}
    assert (await refused(client.request("session.get", {"session": "s"}))).kind == "not_found"
    assert (await client.request("session.list"))["sessions"] == []


@pytest.mark.req("OWN-6")
async def test_a_tool_that_calls_its_own_session_is_refused_at_once_and_may_use_another(workers: Workers) -> None:
    results: list[Any] = []
    append = {"entries": [{"q": 1}]}

    async def tool(arguments: dict[str, Any]) -> Any:
        for meta in ({"within": ["outer"]}, {}):
            error = await refused(client.request("session.append", {"session": "outer", **append}, **meta))
            results.append((error.kind, error.retryable))
        results.append(await client.request("session.append", {"session": "inner", **append}, within=["outer"]))
        return "done"

    client = await workers.client(tools={"nested": tool})
    for session in ("outer", "inner"):
        await client.request("session.open", {"session": session})
    call = {"program": PROGRAM, "inputs": {"script": [{"tool": "nested"}]}}
    answer = await asyncio.wait_for(client.request("call", call, session="outer"), 20)
    assert answer["outputs"]["tools"] == ["done"]
    assert results == [("conflict", False), ("conflict", True), {"entries": 1, "first": 0, "next": 1}]


async def test_an_exported_session_is_imported_whole_under_another_id(workers: Workers) -> None:
    one = await workers.client()
    await one.request(
        "session.open",
        {"session": "s", "lm": "fast", "variables": {"v": (1, b"\x01")}, "programs": [{"program": PROGRAM}]},
    )
    await one.request("call", {"program": PROGRAM, "inputs": {"q": 1}}, session="s")
    document = (await one.request("session.export", {"session": "s"}))["document"]
    made = await one.request("session.import", {"document": document, "session": "copy"})
    original = await one.request("session.describe", {"session": "s"})
    same = ("lm", "adapter", "variables", "programs", "usage", "limits", "history")
    assert {name: made[name] for name in same} == {name: original[name] for name in same}
    copied = (await one.request("session.export", {"session": "copy"}))["document"]
    assert {**copied, "session": "s"} == document


@pytest.mark.req("NFR4.1.4")
async def test_an_import_keeps_the_newest_entries_of_a_huge_history(client: BridgeClient) -> None:
    entries = [{"fields": {"q": number}, "tokens": 2**70, "at": datetime(1, 1, 1)} for number in range(20_000)]
    document = {"format": 1, "history": entries, "limits": {"history_entries": 2}}
    made = await client.request("session.import", {"document": document, "session": "huge"})
    assert made["history"] == {"entries": 2, "first": 19_998, "next": 20_000, "tokens": 6, "bytes": 22}
    found = (await client.request("session.history", {"session": "huge"}))["entries"]
    assert [entry["fields"] for entry in found] == [{"q": 19_998}, {"q": 19_999}]


@pytest.mark.parametrize(
    ("method", "params", "text"),
    [
        ("session.open", {"session": ""}, "1 to 256 printable"),
        ("session.open", {"session": "a\u0000b"}, "1 to 256 printable"),
        ("session.open", {"session": "x" * 257}, "1 to 256 printable"),
        ("session.open", {"adapter": "yaml"}, "chat, json, xml"),
        ("session.open", {"limits": {"max_rooms": 1}}, "no limit of a session"),
        ("session.open", {"limits": {"ttl_ms": True}}, "integer"),
        ("session.open", {"variables": {"": 1}}, "variable's name"),
        ("session.open", {"programs": [{"state": {}}]}, "lacks program"),
        ("session.open", {"programs": ["x"]}, "must be a map"),
        ("session.open", {"api_key": "k"}, "does not know 'api_key'"),
        ("session.put", {"session": "s", "delete": [1]}, "delete[0]"),
        ("session.append", {"session": "s", "entries": [1]}, "entries[0]"),
        ("session.trim", {"session": "s", "keep": -1}, "keep"),
        ("session.list", {"limit": 0}, "limit"),
        ("session.list", {"after": "\u0000"}, "after must be 1 to 256 printable"),
        ("session.import", {"document": {"format": 2}}, "format 1"),
        ("session.import", {"document": {"format": 1, "history": [1]}}, "history[0]"),
        ("session.import", {"document": {"format": 1, "usage": {"calls": "x"}}}, "usage.calls"),
        ("session.import", {"document": {"format": 1, "usage": {"by_model": {"m": {"n": "x"}}}}}, "by_model"),
        ("session.import", {"document": {"format": True}}, "format 1"),
        ("session.import", {"document": {"format": 1, "limits": [1]}}, "limits of the document must be a map"),
        ("session.import", {"document": {"format": 1, "limits": {"ttl_ms": 0}}}, "limits.ttl_ms"),
        ("session.import", {"document": {"format": 1, "usage": {"calls": True}}}, "usage.calls"),
        ("session.import", {"document": {"format": 1, "usage": {"calls": -1}}}, "usage.calls"),
        ("session.import", {"document": {"format": 1, "usage": {"calls": 10**30}}}, "usage.calls"),
        ("session.import", {"document": {"format": 1, "usage": {"cost": float("nan")}}}, "usage.cost"),
        ("session.import", {"document": {"format": 1, "usage": {"cost": 10**400}}}, "usage.cost"),
        ("session.import", {"document": {"format": 1, "usage": {"by_model": {"\x1b[2J": 1}}}}, "'\\x1b[2J'"),
        ("session.import", {"document": {"format": 1, "history": [BEFORE_TIME]}}, "history[0].at"),
        ("session.import", {"document": {"format": 1, "history": [AFTER_TIME]}}, "history[0].at"),
    ],
)
@pytest.mark.req("NFR4.1.4")
async def test_wrong_params_are_named(client: BridgeClient, method: str, params: dict[str, Any], text: str) -> None:
    error = await refused(client.request(method, params))
    assert error.kind == "invalid_request"
    assert text in error.message


async def test_a_store_that_can_t_be_opened_is_told_by_each_call_and_the_worker_lives_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(store=f"sqlite:///{tmp_path}/file/x.db")
    async with memory_worker(settings, engine=ScriptedEngine()) as client:
        for _ in range(2):
            error = await refused(client.request("session.open"))
            assert (error.kind, "can't be opened" in error.message) == ("unavailable", True)
        assert (await client.request("call", {"program": PROGRAM, "inputs": {}}))["outputs"] == {"answer": {}}
        os.unlink(tmp_path / "file")
        assert (await client.request("session.open", {"session": "s"}))["session"] == "s"


async def test_a_worker_without_sessions_has_no_store(tmp_path: Path) -> None:
    settings = Settings(store=f"sqlite:///{tmp_path}/x.db")
    async with memory_worker(settings, engine=ScriptedEngine()) as client:
        await client.request("call", {"program": PROGRAM, "inputs": {}})
    assert os.listdir(tmp_path) == []
