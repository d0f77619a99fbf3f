"""Results of executions in a SQLite file, for those that outlive a process. What fails here is a miss."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from python_bridge.store.faults import is_damaged, is_locked, to_bridge_error
from python_bridge.store.location import prepare_file

_TABLE = """
CREATE TABLE IF NOT EXISTS results (
    key BLOB PRIMARY KEY, program TEXT NOT NULL, tenant TEXT NOT NULL, body BLOB NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID
"""
_MAX_ROWS = 100_000
_TRIM_EVERY = 500

Row = tuple[str, str, bytes, float]
"""Program, tenant, body, and when it expires (seconds since the epoch)."""


class ResultFile:
    """Several processes may share one file. While another one holds its lock, nothing is found and nothing kept.

    A file that is no database is put aside as ``<name>.damaged``.

    Args:
        path: made when it is not there, readable by its owner alone.
        max_rows: above it the ones that expire first go.
    """

    def __init__(self, path: Path, max_rows: int = _MAX_ROWS) -> None:
        """
        Raises:
            BridgeError: `unavailable` when the file cannot be made or written.
        """
        self._path = path
        self._max_rows = max_rows
        self._lock = threading.Lock()
        self._puts = self._failures = self._quarantined = self._hits = 0
        self._ready = False
        prepare_file(path)
        self._connection = _connect(path)
        with self._lock:
            self._begin()

    def get(self, key: bytes) -> Row | None:
        """Return what is kept under a key."""
        rows = self._run("SELECT program, tenant, body, expires FROM results WHERE key = ?", (key,))
        if rows:
            self._hits += 1
        return rows[0] if rows else None

    def put(self, key: bytes, row: Row) -> None:
        """Keep a result."""
        self._run("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", (key, *row))
        self._puts += 1
        if self._puts % _TRIM_EVERY == 0:
            self._trim()

    def discard(self, key: bytes) -> None:
        """Forget a result that cannot be read; it counts as a failure."""
        self._failures += 1
        self._run("DELETE FROM results WHERE key = ?", (key,))

    def clear(self, program: str | None, tenant: str | None) -> None:
        """Forget all, or those of a program, a tenant, or both."""
        text = "DELETE FROM results WHERE (?1 IS NULL OR program = ?1) AND (?2 IS NULL OR tenant = ?2)"
        self._run(text, (program, tenant))

    def stats(self) -> dict[str, Any]:
        """Return counts."""
        rows = self._run("SELECT count(*), coalesce(sum(length(body)), 0) FROM results", ())
        count, size = rows[0] if rows else (0, 0)
        return {
            "entries": count,
            "bytes": size,
            "hits": self._hits,
            "failures": self._failures,
            "quarantined": self._quarantined,
        }

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _trim(self) -> None:
        self._run("DELETE FROM results WHERE expires < ?", (time.time(),))
        extra = "SELECT key FROM results ORDER BY expires DESC LIMIT -1 OFFSET ?"
        self._run(f"DELETE FROM results WHERE key IN ({extra})", (self._max_rows,))  # noqa: S608 - a constant

    def _run(self, text: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                if not self._ready:
                    self._prepare()
                return self._connection.execute(text, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._failures += 1
                if is_damaged(error):
                    self._replace()
                return []

    def _begin(self) -> None:
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if is_damaged(error):
                self._connection.close()
                self._connection = self._put_aside()
                self._prepare()
            elif not is_locked(error):  # a locked one is prepared when it is asked next
                self._connection.close()
                raise to_bridge_error(error) from error

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(_TABLE)
        self._ready = True

    def _replace(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        with contextlib.suppress(sqlite3.Error, OSError):
            self._connection = self._put_aside()
            self._prepare()

    def _put_aside(self) -> sqlite3.Connection:
        self._quarantined += 1
        self._ready = False
        self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        prepare_file(self._path)
        return _connect(self._path)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)


__all__ = ["ResultFile", "Row"]
