"""The result cache: what is the same question, bounds, copies, single flight, the file."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import dspy
import pytest

from python_bridge.engine.interface import CallResult
from python_bridge.services.executor.options import CacheOptions
from python_bridge.services.executor.result_cache import ResultCache
from python_bridge.settings import LmSettings, Settings
from python_bridge.store.results import ResultFile
from python_bridge.testing.gate import Gate
from python_bridge.testing.scripted import Answer, ScriptedLM


class Marked(dspy.Module):
    def __init__(self, mark: str) -> None:
        super().__init__()
        self.ask = dspy.Predict("q -> a")
        self.mark = mark

    async def aforward(self, q: str) -> dspy.Prediction:
        return dspy.Prediction(a=(await self.ask.acall(q=q)).a + self.mark)


def result(text: str = "x") -> CallResult:
    return CallResult({"a": text}, None, {"lm_calls": 1}, None, "m", "chat")


@pytest.mark.req("EX-7")
def test_the_same_question_is_asked_once_and_each_answer_is_a_copy(make: Any) -> None:
    scripted = ScriptedLM([{"tags": ["a"]}])
    executor = make(scripted.lm)
    program = dspy.Predict("q -> tags: list[str]")
    first = executor.execute(program, inputs={"q": "1"})
    first.outputs["tags"].append("changed")
    second = executor.execute(program, inputs={"q": "1"})
    second.outputs["tags"].append("changed too")
    third = executor.execute(dspy.Predict("q -> tags: list[str]"), inputs={"q": "1"})
    assert third.outputs == {"tags": ["a"]}
    assert [r.metadata["cache"] for r in (first, second, third)] == ["miss", "hit", "hit"]
    assert executor.get_execution_stats()["cache"]["hits"] == 2
    assert len(scripted.asked) == 1


@pytest.mark.req("EX-7")
def test_different_programs_of_one_class_do_not_share_answers(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    answers = [executor.execute(Marked(mark), inputs={"q": "1"}).outputs["a"] for mark in "!?"]
    assert answers == ["x!", "x?"]


@pytest.mark.req("EX-7")
def test_a_program_that_was_changed_is_asked_anew(make: Any) -> None:
    scripted = ScriptedLM(default={"a": "x"})
    executor = make(scripted.lm)
    program = dspy.Predict("q -> a")

    def cache() -> str:
        return executor.execute(program, inputs={"q": "1"}).metadata["cache"]

    assert [cache(), cache()] == ["miss", "hit"]
    program.demos.append(dspy.Example(q="2", a="4"))
    assert [cache(), cache()] == ["miss", "hit"]
    program.demos[0]["a"] = "5"
    assert cache() == "miss"
    program.signature = program.signature.with_instructions("Answer in French.")
    assert [cache(), cache()] == ["miss", "hit"]


@pytest.mark.req("EX-7")
def test_a_change_deep_in_a_tree_of_modules_is_seen(make: Any) -> None:
    class Nested(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps: list[Any] = [[Marked("1")], {"last": (Marked("2"),)}]

        async def aforward(self, q: str) -> dspy.Prediction:
            return dspy.Prediction(a=q)

    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = Nested()
    seen: list[str] = []

    def ask() -> str:
        made = executor.execute(program, inputs={"q": "1"}).metadata
        seen.append(made["signature"])
        return made["cache"]

    assert [ask(), ask()] == ["miss", "hit"]
    program.steps[1]["last"][0].ask.demos = [dspy.Example(q="a", a="b")]
    assert [ask(), ask()] == ["miss", "hit"]
    program.steps[0].append(Marked("3"))
    assert [ask(), ask()] == ["miss", "hit"]
    program.steps[0][0].ask.signature.instructions = "Otherwise."
    assert [ask(), ask()] == ["miss", "hit"]
    program.first = dspy.Predict("more -> less")
    assert [ask(), ask()] == ["miss", "hit"]
    assert (seen[0], seen[-1]) == ("", "more -> less")


@pytest.mark.req("EX-7")
@pytest.mark.parametrize("program", [dspy.Predict("q -> a"), {"format": 1, "kind": "predict", "signature": "q -> a"}])
def test_parameters_of_a_call_hold_for_it_alone(make: Any, program: Any) -> None:
    scripted = ScriptedLM(default={"a": "x"})
    executor = make(scripted.lm, cache_enabled=False)
    for config in ({"temperature": 0.5}, {}, {"temperature": 0.5}, {"temperature": 0.5, "max_tokens": 9}):
        assert executor.execute(program, inputs={"q": "1"}, config=config).success
    configs = [asked.request.config for asked in scripted.asked]
    asked = [(config.temperature, config.max_tokens) for config in configs]
    assert asked == [(0.5, None), (None, None), (0.5, None), (0.5, 9)]


@pytest.mark.req("EX-7")
def test_tenants_lms_parameters_and_adapters_have_answers_of_their_own(make: Any) -> None:
    executor = make(lms={name: ScriptedLM(default={"a": name}).lm for name in ("default", "other")})
    program = dspy.Predict("q -> a")
    variants: list[dict[str, Any]] = [
        {},
        {"tenant": "t1"},
        {"tenant": "t2"},
        {"lm": "other"},
        {"config": {"temperature": 0.5}},
        {"adapter": "json"},
    ]
    for wanted in ("miss", "hit"):
        found = [executor.execute(program, inputs={"q": "1"}, **options).metadata["cache"] for options in variants]
        assert found == [wanted] * len(variants)


@pytest.mark.req("EX-7")
def test_inputs_that_are_no_json_do_not_fail(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    program = dspy.Predict("image: dspy.Image -> a")
    image = dspy.Image(url="data:image/png;base64,iVBORw0KGgo=")
    assert [executor.execute(program, inputs={"image": image}).success for _ in range(2)] == [True, True]


@pytest.mark.req("EX-7")
def test_failures_are_not_kept(make: Any) -> None:
    scripted = ScriptedLM([dspy.LMAuthError("no"), {"a": "x"}])
    executor = make(scripted.lm)
    assert [executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}).success for _ in range(2)] == [False, True]


@pytest.mark.anyio
@pytest.mark.req("EX-7")
async def test_equal_executions_at_a_time_ask_once(make: Any) -> None:
    answer = Answer(fields={"a": "x"}, gate=Gate())
    scripted = ScriptedLM([answer])
    executor = make(scripted.lm)
    program = dspy.Predict("q -> a")
    tasks = [asyncio.create_task(executor.aexecute(program, inputs={"q": "1"})) for _ in range(8)]
    await answer.reached.passed(20)
    assert answer.gate is not None
    answer.gate.open()
    results = await asyncio.gather(*tasks)
    assert all(item.outputs == {"a": "x"} for item in results)
    assert sorted(item.metadata["cache"] for item in results) == ["hit"] * 7 + ["miss"]
    assert len(scripted.asked) == 1


@pytest.mark.anyio
@pytest.mark.req("EX-7")
async def test_when_the_one_that_asks_is_cancelled_another_one_takes_over(make: Any) -> None:
    first = Answer(fields={"a": "first"}, gate=Gate())
    executor = make(ScriptedLM([first, {"a": "second"}]).lm)
    program = dspy.Predict("q -> a")
    leader = asyncio.create_task(executor.aexecute(program, inputs={"q": "1"}))
    await first.reached.passed(20)
    follower = asyncio.create_task(executor.aexecute(program, inputs={"q": "1"}))
    await asyncio.sleep(0)
    leader.cancel()
    assert (await follower).outputs == {"a": "second"}


@pytest.mark.req("EX-7")
def test_the_cache_is_bounded_by_number_and_by_bytes() -> None:
    cache = ResultCache(max_entries=3)
    for number in range(5):
        cache.put(bytes([number]), result(), program="p", tenant="")
    assert cache.stats()["entries"] == 3
    assert cache.get(bytes([0])) is None
    assert cache.get(bytes([4])) == CallResult({"a": "x"}, None, {"lm_calls": 1}, None, "m", "chat", "hit")
    small = ResultCache(max_bytes=10_000)
    for number in range(50):
        small.put(bytes([number]), result("y" * 1000), program="p", tenant="")
    assert small.stats()["bytes"] <= 10_000
    small.put(b"big", result("z" * 20_000), program="p", tenant="")
    assert small.stats()["uncacheable"] == 1


@pytest.mark.req("EX-7")
def test_old_results_are_misses_and_still_there_for_those_who_take_them() -> None:
    now = [0.0]
    cache = ResultCache(ttl=10, clock=lambda: now[0])
    cache.put(b"k", result(), program="p", tenant="")
    now[0] = 11
    assert cache.get(b"k") is None
    stale = cache.stale(b"k")
    assert stale is not None
    assert stale.cache == "stale"


@pytest.mark.req("EX-7")
def test_the_cache_is_cleared_by_program_by_tenant_and_whole(make: Any) -> None:
    executor = make(ScriptedLM(default={"a": "x"}).lm)
    one, two = dspy.Predict("q -> a"), dspy.Predict("q, r -> a")

    def fill() -> None:
        for tenant in ("t", "u"):
            executor.execute(one, inputs={"q": "1"}, tenant=tenant)
            executor.execute(two, inputs={"q": "1", "r": "2"}, tenant=tenant)

    fill()
    assert executor.clear_cache(program=one) == 2
    assert executor.clear_cache(tenant="t") == 1
    assert executor.clear_cache() == 1
    fill()
    assert executor.clear_cache(program=two, tenant="u") == 1


@pytest.mark.req("EX-7")
def test_a_file_keeps_results_for_the_next_process_and_no_pickle(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    program = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
    inputs = {"context": "The lamp is green.", "question": "What colour is the lamp?"}
    settings = Settings(lms={"default": LmSettings(model="offline/extractive")})
    results = []
    for _ in range(2):
        executor = make(settings=settings, cache=CacheOptions(path=path))
        results.append(executor.execute(program, inputs=inputs))
        executor.shutdown()
    assert [item.metadata["cache"] for item in results] == ["miss", "hit"]
    assert results[0].outputs == results[1].outputs
    assert (path.stat().st_mode & 0o777) == 0o600


@pytest.mark.req("EX-7")
def test_a_damaged_file_is_put_aside_and_the_service_goes_on(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_bytes(b"this is no database" * 1000)
    executor = make(ScriptedLM(default={"a": "x"}).lm, cache=CacheOptions(path=path))
    assert executor.execute(dspy.Predict("q -> a"), inputs={"q": "1"}).success
    assert executor.get_execution_stats()["cache"]["file"]["quarantined"] == 1
    assert path.with_name("results.db.damaged").exists()


@pytest.mark.req("EX-7")
@pytest.mark.parametrize(
    "damage",
    ["body = x'00'", "body = x'000000027b7d'", "body = 'text'", "expires = 'never', body = 'x'", "body = zeroblob(40)"],
)
def test_a_damaged_row_is_a_miss_and_the_others_stay(make: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "results.db"
    program = {"format": 1, "kind": "predict", "signature": "context, question -> answer"}
    settings = Settings(lms={"default": LmSettings(model="offline/extractive")})
    rows = [{"context": f"The lamp is {colour}.", "question": "What colour?"} for colour in ("green", "red")]
    first = make(settings=settings, cache=CacheOptions(path=path))
    outputs = [result.outputs for result in first.execute_batch(program, inputs_list=rows)]
    first.shutdown()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"UPDATE results SET {damage} WHERE key = (SELECT min(key) FROM results)")
    connection.close()
    executor = make(settings=settings, cache=CacheOptions(path=path))
    results = executor.execute_batch(program, inputs_list=rows, fallback="stale", timeout=30)
    assert [result.outputs for result in results] == outputs
    assert sorted(result.metadata["cache"] for result in results) == ["hit", "miss"]
    assert executor.get_execution_stats()["cache"]["file"]["failures"] == 1


@pytest.mark.req("EX-7")
def test_a_file_that_is_locked_while_it_is_opened_stays_where_it_is_and_serves_later(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE mine (a)")
    other.execute("BEGIN EXCLUSIVE")
    file = ResultFile(path)
    row = ("p", "t", b"body", 1e12)
    file.put(b"k", row)
    assert file.get(b"k") is None
    other.execute("COMMIT")
    other.close()
    file.put(b"k", row)
    assert file.get(b"k") == row
    assert (file.stats()["quarantined"], file.stats()["failures"]) == (0, 2)
    file.close()
    assert not path.with_name("results.db.damaged").exists()


@pytest.mark.req("EX-7")
def test_a_file_that_is_damaged_while_it_is_open_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    file = ResultFile(path)
    for number in range(200):
        file.put(bytes([number]), ("p", "t", b"x" * 500, 1e12))
    file.close()
    path.write_bytes(path.read_bytes()[:8192] + b"garbage " * 10_000)
    file = ResultFile(path)
    assert [file.get(bytes([number])) for number in range(200)][-1] is None
    row = ("p", "t", b"new", 1e12)
    file.put(b"new", row)
    assert (file.get(b"new"), file.stats()["quarantined"]) == (row, 1)
    file.close()
