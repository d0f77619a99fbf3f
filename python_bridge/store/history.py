"""What was executed, jobs, and answers by idempotency key, in one SQLite file that several processes share."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.store.faults import is_damaged, is_locked
from python_bridge.store.location import held_alone, prepare_file
from python_bridge.store.owners import Owners
from python_bridge.wire.told import decode_told

logger = logging.getLogger("python_bridge.history")

_TABLES = """
CREATE TABLE IF NOT EXISTS executions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, program TEXT NOT NULL, success INTEGER NOT NULL,
    at REAL NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, total INTEGER NOT NULL, done INTEGER NOT NULL, failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL, error TEXT, body BLOB, owner TEXT
);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, request BLOB NOT NULL, at REAL NOT NULL, body BLOB, owner TEXT
);
CREATE INDEX IF NOT EXISTS answers_by_age ON answers (at);
"""
_STATE = "SELECT status, total, done, failed, error, owner FROM jobs WHERE id = ?"
_LOST = "UPDATE jobs SET status = 'failed', error = ? WHERE id = ? AND status = 'running' AND owner IS ?"
_CLAIM = "INSERT OR IGNORE INTO answers (key, request, at, owner) VALUES (?, ?, ?, ?)"
_CLAIMED = "SELECT request, body, owner FROM answers WHERE key = ?"
_FLUSH_S = 0.05
_LOCKED_S = 1.0
_MAX_PENDING = 10_000
_ANSWERS_S = 600.0
_CLAIMS_S = 2 * 86_400.0  # longer than any request may take
_ANSWERS = 200_000
_FORGET_EVERY_S = 5.0
_JOBS = 1_000
_TRIM_EVERY = 256
_ROWS = 200


Row = tuple[str, tuple[str, bool, float, bytes]]
"""Id of an execution; its program, success, time and JSON."""


class History:
    """Executions are written behind the caller's back, in groups; jobs and answers at once.

    Args:
        path: made when it is not there, readable by its owner alone. One that is no database is put aside as
            ``<name>.damaged``, and a new one begun.
        keep: executions that are kept, the newest ones.
    """

    def __init__(self, path: Path, keep: int = 10_000) -> None:
        """
        Raises:
            BridgeError: `unavailable` when the file cannot be made.
        """
        self._path = path
        self._keep = keep
        self._lock = threading.Lock()  # held for moments: callers are on event loops
        self._database = threading.RLock()
        self._pending: OrderedDict[str, tuple[str, bool, float, bytes]] = OrderedDict()
        self._writing: OrderedDict[str, tuple[str, bool, float, bytes]] = OrderedDict()
        self._waiting: list[Callable[[], object]] = []
        self._wake = threading.Event()
        self._closed = False
        self._written = 0
        self._forgot = 0.0
        self.dropped = 0
        self._connection = self._open()
        self._owners = Owners(path)
        self._thread = threading.Thread(target=self._run, name="dspex-history", daemon=True)
        self._thread.start()

    # -- executions -------------------------------------------------------------------------------------------

    def add(self, execution_id: str, program: str, success: bool, body: bytes) -> None:
        """Keep an execution; `body` is the JSON that `get` gives."""
        row = (program.encode("utf-8", "replace").decode(), success, time.time(), body)
        with self._lock:
            self._pending[execution_id] = row
            if len(self._pending) > _MAX_PENDING:
                self._pending.popitem(last=False)
                self.dropped += 1
        self._wake.set()

    async def written(self) -> None:
        """Wait until what was added so far is in the file; those who wait at a time share one commit."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if not self._pending and not self._writing:
                return
            self._waiting.append(lambda: loop.call_soon_threadsafe(_settle, future))
        self._wake.set()
        await future

    def get(self, execution_id: str) -> bytes | None:
        """Return an execution's JSON, ``None`` when there is none or it is too long ago."""
        if (pending := self.pending(execution_id)) is not None:
            return pending
        found = self._query("SELECT body FROM executions WHERE id = ?", (execution_id,))
        return found[0][0] if found else None

    def pending(self, execution_id: str) -> bytes | None:
        """Return an execution's JSON as long as it is not in the file, and only then."""
        with self._lock:
            row = self._pending.get(execution_id) or self._writing.get(execution_id)
        return None if row is None else row[3]

    def recent(self, limit: int = 50) -> list[dict[str, Any]]:
        """Return the newest executions, the newest first."""
        self.flush()
        rows = self._query("SELECT at, body FROM executions ORDER BY number DESC LIMIT ?", (limit,))
        return [{**decode_told(body), "at": at} for at, body in rows]

    # -- jobs -------------------------------------------------------------------------------------------------

    def start_job(self, job_id: str, total: int) -> None:
        """Begin a job."""
        with self._using() as connection:
            connection.execute(
                "INSERT INTO jobs (id, status, total, done, failed, at, owner) VALUES (?, 'running', ?, 0, 0, ?, ?)",
                (job_id, total, time.time(), self._owners.me),
            )
            connection.execute(
                "DELETE FROM jobs WHERE id NOT IN (SELECT id FROM jobs ORDER BY at DESC LIMIT ?)", (_JOBS,)
            )

    def update_job(self, job_id: str, done: int, failed: int) -> None:
        """Note progress."""
        with self._using() as connection:
            text = "UPDATE jobs SET done = ?1, failed = ?2 WHERE id = ?3 AND (done != ?1 OR failed != ?2)"
            connection.execute(text, (done, failed, job_id))

    def is_cancelled(self, job_id: str) -> bool:
        """Return whether a job was asked to stop."""
        rows = self._query("SELECT cancelled FROM jobs WHERE id = ?", (job_id,))
        return bool(rows and rows[0][0])

    def finish_job(self, job_id: str, status: str, body: bytes | None, error: str | None = None) -> None:
        """End a job with the JSON of its results."""
        with self._using() as connection:
            connection.execute(
                "UPDATE jobs SET status = ?, body = ?, error = ? WHERE id = ?", (status, body, error, job_id)
            )

    def job(self, job_id: str) -> dict[str, Any] | None:
        """Return a job's state. One whose process has ended has failed."""
        rows = self._query(_STATE, (job_id,))
        if rows and rows[0][0] == "running" and not self._owners.lives(rows[0][5]):
            with self._using() as connection:
                text = f"the server that ran it ended when {rows[0][2]} of {rows[0][1]} items were done; start it again"
                connection.execute(_LOST, (text, job_id, rows[0][5]))
            rows = self._query(_STATE, (job_id,))
        names = ("status", "total", "done", "failed", "error")
        return {"batch_id": job_id, **dict(zip(names, rows[0][:5], strict=True))} if rows else None

    def job_results(self, job_id: str) -> bytes | None:
        """Return the JSON of the results of a job that has ended."""
        rows = self._query("SELECT body FROM jobs WHERE id = ?", (job_id,))
        return rows[0][0] if rows else None

    def cancel_job(self, job_id: str) -> bool:
        """Ask a job to stop; return whether it was running."""
        with self._using() as connection:
            changed = connection.execute("UPDATE jobs SET cancelled = 1 WHERE id = ? AND status = 'running'", (job_id,))
        return changed.rowcount > 0

    # -- idempotency ------------------------------------------------------------------------------------------

    def claim(self, key: str, request: bytes) -> bytes | None:
        """Take an idempotency key; return the kept answer when the same request was answered under it.

        Raises:
            BridgeError: `conflict` when the key came with another request, or its first one still runs.
        """
        now = time.time()
        row = (key, request, now, self._owners.me)
        with self._using() as connection:
            self._forget_answers(connection, now)
            if connection.execute(_CLAIM, row).rowcount:
                return None
            kept, body, owner = connection.execute(_CLAIMED, (key,)).fetchone()
            if body is None and not self._owners.lives(owner):  # nobody will answer any more
                connection.execute("DELETE FROM answers WHERE key = ?", (key,))
                connection.execute(_CLAIM, row)
                return None
        if bytes(kept) != request:
            raise BridgeError("conflict", "this idempotency key came with another request before", retryable=False)
        if body is None:
            raise BridgeError("conflict", "the first request with this idempotency key still runs", retry_after=1.0)
        return body

    def _forget_answers(self, connection: sqlite3.Connection, now: float) -> None:
        """Remove the answers that are too old, and the oldest of too many; now and then is enough."""
        if 0 <= now - self._forgot < _FORGET_EVERY_S:
            return
        self._forgot = now
        old = "DELETE FROM answers WHERE at < ? AND (body IS NOT NULL OR at < ?)"
        connection.execute(old, (now - _ANSWERS_S, now - _CLAIMS_S))
        many = "DELETE FROM answers WHERE rowid <= (SELECT max(rowid) FROM answers) - ? AND body IS NOT NULL"
        connection.execute(many, (_ANSWERS,))

    def answer(self, key: str, body: bytes | None) -> None:
        """Keep the answer under a claimed key; ``None`` gives the key back."""
        with self._using() as connection:
            if body is None:
                connection.execute("DELETE FROM answers WHERE key = ?", (key,))
            else:
                connection.execute("UPDATE answers SET body = ?, at = ? WHERE key = ?", (body, time.time(), key))

    # -- the file ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is pending now."""
        with self._database:
            with self._lock:
                rows, self._pending = self._pending, OrderedDict()
                self._writing = rows
                waiting, self._waiting = self._waiting, []
            done = self._write(rows)
            with self._lock:
                self._writing = OrderedDict()
                if not done:
                    self._put_back(rows)
                    self._waiting = waiting + self._waiting
                    return
            for tell in waiting:
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    tell()

    def _write(self, rows: "OrderedDict[str, tuple[str, bool, float, bytes]]") -> bool:
        """Write rows, or count them as dropped; return whether they need not be written again."""
        if not rows or self._closed:
            return True
        try:
            with self._using() as connection:
                for group in _batched(rows.items()):
                    # One statement for many rows: the interpreter's lock is let go once a statement, not once a row.
                    places = ", ".join(["(?, ?, ?, ?, ?)"] * len(group))
                    connection.execute(
                        f"INSERT OR IGNORE INTO executions (id, program, success, at, body) VALUES {places}",  # noqa: S608 - constants
                        [value for key, row in group for value in (key, *row)],
                    )
                self._trim(len(rows))
        except Exception as error:  # whatever it is, the next ones are to be written
            if isinstance(error, BridgeError) and error.details.get("locked"):
                return False
            self.dropped += len(rows)
            logger.warning("%d executions are lost to the history: %s", len(rows), error)
        return True

    def _put_back(self, rows: "OrderedDict[str, tuple[str, bool, float, bytes]]") -> None:
        """Another process holds the file: the rows are written with the next ones. The caller holds the lock."""
        rows.update(self._pending)
        self._pending = rows
        while len(rows) > _MAX_PENDING:
            rows.popitem(last=False)
            self.dropped += 1
        self._wake.set()

    def close(self) -> None:
        """Write what is pending, and close the file."""
        self.flush()
        with self._database:
            if self._pending:
                logger.warning("%d executions are lost to the history: another process holds it", len(self._pending))
            self._closed = True
            self._connection.close()
            self._owners.close()
        self._wake.set()
        self._thread.join(1.0)

    def _trim(self, added: int) -> None:
        self._written += added
        if self._written >= _TRIM_EVERY:
            self._written = 0
            text = "DELETE FROM executions WHERE number <= (SELECT max(number) FROM executions) - ?"
            self._connection.execute(text, (self._keep,))

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._wake.clear()
            if not self._waiting:
                time.sleep(_FLUSH_S)
            self.flush()

    def _query(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        with self._using() as connection:
            return connection.execute(text, values).fetchall()

    @contextlib.contextmanager
    def _using(self) -> Generator[sqlite3.Connection]:
        """Give the connection for one transaction.

        Raises:
            BridgeError: `unavailable` when the file cannot be read or written now. A damaged one is put aside.
        """
        with self._database:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.Error as error:
                # What is done on a connection that could not be renewed is a mistake to the driver.
                if not self._closed and (is_damaged(error) or isinstance(error, sqlite3.ProgrammingError)):
                    self._renew()
                text, details = f"the history cannot be used: {error}", {"locked": is_locked(error)}
                raise BridgeError("unavailable", text, retry_after=1.0, details=details) from None

    def _renew(self) -> None:
        logger.error("the history %s is damaged; it is put aside, and a new one begun", self._path)
        self._connection.close()
        with held_alone(self._path):
            self._put_aside(self._inode)
            self._connection = self._begin()

    def _open(self) -> sqlite3.Connection:
        prepare_file(self._path)
        with held_alone(self._path):
            return self._begin()

    def _begin(self) -> sqlite3.Connection:
        """Open the file, or a new one. The caller holds it alone: SQLite does not wait for others that begin a log."""
        for attempt in (1, 2):
            prepare_file(self._path)
            inode = self._path.stat().st_ino
            connection = sqlite3.connect(self._path, timeout=_LOCKED_S, check_same_thread=False)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_TABLES)
                _add_owners(connection)
            except sqlite3.DatabaseError as error:
                connection.close()
                if attempt == 2 or not is_damaged(error):
                    raise BridgeError("unavailable", f"the history {self._path} cannot be used: {error}") from None
                self._put_aside(inode)
            else:
                self._inode = inode
                return connection
        raise AssertionError("unreachable")

    def _put_aside(self, inode: int) -> None:
        """Move the damaged file away, unless another process has done it and begun a new one."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino != inode:
                return
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


def _add_owners(connection: sqlite3.Connection) -> None:
    """Files of before had none; what was at work in them is so no more."""
    for table in ("jobs", "answers"):
        if not connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = 'owner'", (table,)).fetchone():
            with contextlib.suppress(sqlite3.OperationalError):  # another process was quicker
                connection.execute(f"ALTER TABLE {table} ADD COLUMN owner TEXT")


def _batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Give the rows in groups that one statement may write."""
    left = iter(rows)
    while group := list(islice(left, _ROWS)):
        yield group


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


__all__ = ["History"]
