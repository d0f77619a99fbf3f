"""Results of executions in a SQLite file, for those that outlive a process. What fails here is a miss."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

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
    """Several processes may share one file. A file that is no database is put aside as ``<name>.damaged``.

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
        self._connection = self._open()

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
                return self._connection.execute(text, values).fetchall()
            except sqlite3.DatabaseError as error:
                self._failures += 1
                if not isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
                    self._replace()
                return []

    def _open(self) -> sqlite3.Connection:
        prepare_file(self._path)
        try:
            return _connect(self._path)
        except sqlite3.DatabaseError:
            return self._put_aside()

    def _replace(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        with contextlib.suppress(sqlite3.Error, OSError):
            self._connection = self._put_aside()

    def _put_aside(self) -> sqlite3.Connection:
        self._quarantined += 1
        self._path.replace(self._path.with_name(self._path.name + ".damaged"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        prepare_file(self._path)
        return _connect(self._path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_TABLE)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


__all__ = ["ResultFile", "Row"]
