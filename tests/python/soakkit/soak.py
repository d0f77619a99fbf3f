"""The soak: mixed calls on workers that are disturbed all the time; then everything is counted."""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from soakkit.checks import Check, failures
from soakkit.cluster import Cluster
from soakkit.ledger import Book
from soakkit.load import Counter, Lane
from soakkit.work import WORKS

_MIB = 1 << 20
_GROWTH = 1.05
_SLACK_BYTES = 8 * _MIB
"""What an allocator may take beside what is in use, however short the run."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to do.

    Attributes:
        kill_every: calls between two disturbances.
        lanes: clients at a time.
        shaken: workers that are disturbed; one more is not.
        store: URL of the sessions' database; a SQLite file of its own when not given.
    """

    calls: int
    kill_every: int = 500
    engine: str = "scripted"
    lanes: int = 32
    shaken: int = 3
    seed: int = 1
    store: str | None = None


@dataclass(slots=True)
class Report:
    """What a soak found."""

    book: Book
    seconds: float
    checks: list[Check] = field(default_factory=list[Check])

    @property
    def ok(self) -> bool:
        """Whether all checks hold."""
        return all(check.ok for check in self.checks)

    def problems(self) -> list[str]:
        """Return in words what does not hold."""
        return [*failures(self.checks), *self.book.problems]


@dataclass(frozen=True, slots=True)
class _Footprint:
    """What this process holds of the system."""

    processes: int
    descriptors: int

    @classmethod
    def now(cls) -> "_Footprint":
        return cls(len(psutil.Process().children(recursive=True)), len(os.listdir("/proc/self/fd")))


async def soak(options: Options, folder: Path, progress: Callable[[int], None] = lambda done: None) -> Report:
    """Run it.

    Args:
        folder: an empty one of its own: sockets and the store lie there, and nothing else may be left.
        progress: gets the number of calls that are done.
    """
    sockets = folder / "sockets"
    sockets.mkdir()
    work, book, before, started = WORKS[options.engine](), Book(), _Footprint.now(), time.monotonic()
    store = options.store or f"sqlite:///{folder}/store/soak.db"
    arguments = [f"--engine={work.engine}", f"--store={store}", "--log-level=error", *work.arguments]
    cluster = Cluster(arguments, {**os.environ, "TMPDIR": str(sockets)}, {"double": _double}, options.shaken)
    await cluster.start()
    memory = _Memory(cluster, options.calls)
    shaker = _Shaker(cluster, book, options.kill_every)

    def on_call(done: int) -> None:
        shaker.look(done)
        memory.look(done)
        progress(done)

    counter = Counter(options.calls, on_call)
    lanes = [Lane(index, cluster, work, book, counter, options.seed) for index in range(options.lanes)]
    await asyncio.gather(*(lane.run() for lane in lanes))
    await shaker.finish()
    checks = [*_counted(book, options), *(await memory.checks())]
    checks.append(Check.equal("workers that the fork servers know", await cluster.children(), [1, options.shaken]))
    statuses, stderr = await cluster.stop()
    checks.append(Check.equal("exit statuses of the fork servers", statuses, [0, 0]))
    checks.append(Check.equal("bytes in the log of errors", len(stderr), 0))
    checks += await _left(before, sockets, folder / "store" if options.store is None else None)
    if stderr:
        book.problem(f"stderr: {stderr[-2000:].decode(errors='replace')}")
    return Report(book, time.monotonic() - started, checks)


async def _double(arguments: dict[str, int]) -> int:
    return 2 * arguments["number"]


class _Shaker:
    """Disturbs a worker after so many calls, one at a time."""

    def __init__(self, cluster: Cluster, book: Book, every: int) -> None:
        self._cluster = cluster
        self._book = book
        self._every = every
        self._due = asyncio.Semaphore(0)
        self._task = asyncio.create_task(self._run())
        self._waiting = 0

    def look(self, done: int) -> None:
        if done % self._every == 0:
            self._waiting += 1
            self._due.release()

    async def _run(self) -> None:
        while True:
            await self._due.acquire()
            kind = await self._cluster.disturb()
            self._book.disturbances[kind] += 1
            self._waiting -= 1

    async def finish(self) -> None:
        """Do what is due, and no more."""
        while self._waiting and not self._task.done():  # noqa: ASYNC110 - a failure ends it as well
            await asyncio.sleep(0.01)
        if self._task.done():
            await self._task
        self._task.cancel()


class _Memory:
    """The memory of the steady worker: after a tenth of the calls, and in the end."""

    def __init__(self, cluster: Cluster, calls: int) -> None:
        self._cluster = cluster
        self._tenth = max(1, calls // 10)
        self._first: asyncio.Task[int] | None = None

    def look(self, done: int) -> None:
        if done == self._tenth:
            self._first = asyncio.create_task(self._cluster.steady_bytes())

    async def checks(self) -> list[Check]:
        assert self._first is not None
        first, last = await self._first, await self._cluster.steady_bytes()
        most = int(first * _GROWTH) + _SLACK_BYTES
        found = f"{last / _MIB:.1f} MiB, after a tenth of the calls {first / _MIB:.1f}"
        return [Check("memory of the steady worker", found, f"≤ {most / _MIB:.1f} MiB", last <= most)]


def _counted(book: Book, options: Options) -> list[Check]:
    """Return what the ledgers say."""
    kinds = options.calls // options.kill_every
    return [
        Check.at_least("calls that were answered as they should be", book.answered, options.calls),
        Check.at_least("disturbances", book.disturbances.total(), kinds),
        Check.equal("acknowledged changes lost", book.lost, 0),
        Check.equal("changes applied twice", book.doubled, 0),
        Check.equal("changes applied though refused", book.never_sent, 0),
        Check.equal("wrong answers", len(book.problems), 0),
    ]


def _close_properly(database: Path) -> None:
    """Leave no write-ahead log: where the last worker was killed, SQLite keeps it for whoever opens the file next."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


async def _left(before: _Footprint, sockets: Path, store: Path | None) -> list[Check]:
    """Return what is left behind, when what is about to end has had a moment to do so."""
    for _ in range(100):
        after = _Footprint.now()
        if after.processes <= before.processes and not os.listdir(sockets):
            break
        await asyncio.sleep(0.05)
    checks = [
        Check.equal("processes left", max(0, after.processes - before.processes), 0),
        Check(
            "descriptors left",
            str(after.descriptors - before.descriptors),
            "≤ 0",
            after.descriptors <= before.descriptors,
        ),
        Check.equal("sockets and folders left", os.listdir(sockets), []),
    ]
    if store is not None:
        _close_properly(store / "soak.db")
        checks.append(Check.equal("files of the store", sorted(os.listdir(store)), ["soak.db"]))
    return checks


__all__ = ["Options", "Report", "soak"]
