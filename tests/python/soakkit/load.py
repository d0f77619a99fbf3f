"""Clients that do a bit of everything, and keep a ledger of what they were told."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

from soakkit.cluster import Cluster
from soakkit.ledger import Book, Ledger
from soakkit.work import Work

from python_bridge.errors import BridgeError

_CHANGES_A_SESSION = 60
_AWAY = 0.05  # how often a call goes to another worker than the one that has the session
_PASSES = {"worker_lost", "overloaded", "unavailable", "cancelled"}  # the last when a worker ends
_TENANT = "soak"


class Counter:
    """Calls that are still to be made, and numbers that are used once."""

    def __init__(self, calls: int, on_call: Callable[[int], None]) -> None:
        self.calls = calls
        self.done = 0
        self.numbers = itertools.count()
        self._on_call = on_call

    def count(self) -> None:
        self.done += 1
        self._on_call(self.done)


class Lane:
    """One client: it opens sessions, changes them, reads them, and compares them in the end."""

    def __init__(self, index: int, cluster: Cluster, work: Work, book: Book, counter: Counter, seed: int) -> None:
        self._index = index
        self._cluster = cluster
        self._work = work
        self._book = book
        self._counter = counter
        self._random = random.Random(f"{seed} {index}")
        self._session = ""
        self._ledger = Ledger()
        weights: dict[str, int] = {
            "session call, key": 25,
            "session call": 12,
            "session call, cancelled": 4,
            "session call, deadline": 4,
            "session call, failing": 3,
            "session.put": 10,
            "session read": 6,
            "stateless call": 18,
            "stateless call, key": 4,
            "stream": 7,
            "echo": 7,
        }
        if work.engine == "scripted":
            weights["session call, tool"] = 4
        self._names = list(weights)
        self._weights = list(weights.values())
        self._operations: dict[str, Callable[[int], Any]] = {
            "session call, key": self._keyed,
            "session call": self._plain,
            "session call, cancelled": self._cancelled,
            "session call, deadline": self._late,
            "session call, failing": self._failing,
            "session call, tool": self._with_tool,
            "session.put": self._put,
            "session read": self._read,
            "stateless call": self._stateless,
            "stateless call, key": self._stateless_twice,
            "stream": self._stream,
            "echo": self._echo,
        }

    async def run(self) -> None:
        """Work until all calls are made."""
        await self._open()
        while self._counter.done < self._counter.calls:
            (name,) = self._random.choices(self._names, self._weights)
            try:
                await self._operations[name](next(self._counter.numbers))
            except BridgeError as error:
                self._book.problem(f"{name}: {error.kind}: {error.message[:200]}")
            except AssertionError as error:
                self._book.problem(f"{name}: {error}")
            else:
                self._book.calls[name] += 1
            self._counter.count()
            if len(self._ledger) >= _CHANGES_A_SESSION:
                await self._settle()
                await self._open()
        await self._settle()

    # -- sessions ---------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._session = f"s{self._index}-{next(self._counter.numbers)}"
        self._ledger = Ledger()
        key = f"open {self._session}"
        await self._repeat("session.open", {"session": self._session}, tenant=_TENANT, idempotency_key=key)

    async def _settle(self) -> None:
        own = {"session": self._session}
        history = await self._repeat("session.history", own, tenant=_TENANT)
        variables = await self._repeat("session.get", own, tenant=_TENANT)
        applied = [self._work.number(entry["fields"]) for entry in history["entries"]]
        self._book.settle(self._session, self._ledger, [*applied, *variables["variables"].values()])
        await self._repeat("session.close", own, tenant=_TENANT)

    async def _keyed(self, number: int) -> None:
        await self._repeat("call", self._work.call(number), **self._meta(number))
        self._ledger.acknowledged.add(number)

    async def _with_tool(self, number: int) -> None:
        params = self._work.call(number, tool=True)
        answer = await self._repeat("call", params, **self._meta(number))
        self._ledger.acknowledged.add(number)
        assert answer["outputs"]["tools"] == [2 * number], f"a tool gave {answer['outputs']}"

    async def _put(self, number: int) -> None:
        params = {"session": self._session, "variables": {f"v{number}": number}}
        await self._repeat("session.put", params, tenant=_TENANT, idempotency_key=f"k{number}")
        self._ledger.acknowledged.add(number)

    async def _plain(self, number: int) -> None:
        await self._once(number, self._work.call(number))

    async def _late(self, number: int) -> None:
        await self._once(number, self._work.slow(number), deadline_ms=self._random.randint(1, 6))

    async def _once(self, number: int, params: dict[str, Any], **meta: Any) -> None:
        """Send a change that may not be repeated once a worker may have begun with it."""
        while True:
            try:
                await self._cluster.request(self._place(), "call", params, **self._meta(None), **meta)
            except BridgeError as error:
                self._book.repeated[error.kind] += 1
                if error.kind == "worker_lost":
                    self._ledger.unknown.add(number)
                elif error.kind == "timeout":
                    self._ledger.refused[number] = error.message
                else:
                    await self._wait(error)
                    continue
            else:
                self._ledger.acknowledged.add(number)
            return

    async def _cancelled(self, number: int) -> None:
        slot = self._cluster.slots[self._place() % len(self._cluster.slots)]
        client = (await slot.member()).client
        request = client.send("call", self._work.slow(number), **self._meta(None))
        await asyncio.sleep(self._random.uniform(0, 0.006))
        client.cancel(request)
        try:
            await client.response(request)
        except BridgeError as error:
            if error.kind == "worker_lost":
                self._ledger.unknown.add(number)
            elif error.kind != "cancelled" and not error.retryable:
                raise
            else:
                self._ledger.refused[number] = f"{error.kind}: {error.message}"
        else:
            self._ledger.acknowledged.add(number)
        finally:
            client.forget(request)

    async def _failing(self, number: int) -> None:
        kind = await self._kind_of(self._work.failing(number), **self._meta(None))
        assert kind in ("lm_error", "invalid_input"), f"a failing call gave {kind}"

    async def _read(self, number: int) -> None:
        shown = await self._repeat("session.describe", {"session": self._session}, tenant=_TENANT)
        there = shown["history"]["entries"] + len(shown["variables"])
        known, doubtful = len(self._ledger.acknowledged), len(self._ledger.unknown)
        assert known <= there <= known + doubtful, f"a session shows {there} changes of {known} acknowledged ones"

    # -- without a session ------------------------------------------------------------------------------------

    async def _stateless(self, number: int) -> None:
        answer = await self._repeat("call", self._work.call(number), tenant=_TENANT)
        assert set(answer) == {"outputs", "completions", "usage", "cost", "meta"}, f"a call gave {answer}"

    async def _stateless_twice(self, number: int) -> None:
        meta = {"tenant": _TENANT, "idempotency_key": f"k{number}"}
        first = await self._repeat("call", self._work.call(number), **meta)
        second = await self._repeat("call", self._work.call(number), **meta)
        assert first == second, "a repeated request with its key got another answer"

    async def _stream(self, number: int) -> None:
        while True:
            slot = self._cluster.slots[self._place() % len(self._cluster.slots)]
            client = (await slot.member()).client
            stream = client.stream("call", self._work.call(number, stream=True), credit=2, tenant=_TENANT)
            _ = [event async for event in stream]
            try:
                await stream.result()
            except BridgeError as error:
                await self._wait(error)
                continue
            count = len(stream.sequence)
            assert count, "a stream had no events"
            assert stream.sequence == list(range(count)), "the events of a stream have gaps"
            return

    async def _echo(self, number: int) -> None:
        value = {"number": number, "data": self._random.randbytes(self._random.choice([0, 1_000, 100_000]))}
        answer = await self._repeat("echo", {"value": value})
        assert answer["value"] == value, "an echo gave another value"

    # -- ways -------------------------------------------------------------------------------------------------

    def _meta(self, key: int | None) -> dict[str, Any]:
        meta: dict[str, Any] = {"session": self._session, "tenant": _TENANT, "within": []}
        return meta if key is None else {**meta, "idempotency_key": f"k{key}"}

    def _place(self) -> int:
        return self._random.randrange(64) if self._random.random() < _AWAY else self._index

    async def _repeat(self, method: str, params: dict[str, Any], **meta: Any) -> Any:
        """Send a request that may be sent again until a worker has answered it."""
        while True:
            try:
                return await self._cluster.request(self._place(), method, params, **meta)
            except BridgeError as error:
                await self._wait(error)

    async def _kind_of(self, params: dict[str, Any], **meta: Any) -> str:
        while True:
            try:
                await self._cluster.request(self._place(), "call", params, **meta)
            except BridgeError as error:
                if error.kind == "lm_error":
                    return error.kind
                if error.kind not in _PASSES and not error.retryable:
                    return error.kind
                await self._wait(error)
            else:
                return "a result"

    async def _wait(self, error: BridgeError) -> None:
        """Wait as the error says; one that does not pass is raised."""
        if error.kind not in _PASSES and not error.retryable:
            raise error
        self._book.repeated[error.kind] += 1
        await asyncio.sleep(min(error.retry_after or 0.005, 0.2))


__all__ = ["Counter", "Lane"]
