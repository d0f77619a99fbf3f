"""What goes wrong in a database, as errors of the closed set. None of their texts holds a statement or a value."""

import sqlite3

from python_bridge.errors import BridgeError

RETRY_AFTER_S = 1.0
"""What a caller is told to wait after a fault that can pass."""

_SQLITE_MESSAGES: dict[int, tuple[str, bool]] = {
    sqlite3.SQLITE_FULL: ("the store's disk is full: free space, then repeat; what was acknowledged is kept", True),
    sqlite3.SQLITE_READONLY: ("the store's file can't be written: mend its owner and mode, or the mount", False),
    sqlite3.SQLITE_CANTOPEN: ("the store's file can't be opened: mend its folder, owner and mode", False),
    sqlite3.SQLITE_IOERR: ("the store's disk failed or is full: see the system's log, then repeat", True),
    sqlite3.SQLITE_CORRUPT: ("the store's file is damaged: put back a copy, or move it away to start anew", False),
    sqlite3.SQLITE_NOTADB: ("the store's file is no SQLite database: move it away, or set another path", False),
}
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# SQLSTATE classes of PostgreSQL: what passes by itself, and what another writer caused.
_POSTGRES_MESSAGES = {
    "53": "the store's database is out of space, memory or connections",
    "57": "the store's database was stopped or cancelled the statement",
    "08": "the connection to the store's database was lost",
    "55": "the store is locked by another process",
    "40": "the store undid the change because another one crossed it",
    "25": "the store's database takes no changes (it is a replica, or read-only)",
    "28": "the store's database refused the user or the password",
}


class StoreLocked(Exception):
    """Another process holds the write lock now; the caller tries again."""


def is_locked(error: Exception) -> bool:
    """Whether SQLite says that another connection holds the lock."""
    return isinstance(error, StoreLocked) or (isinstance(error, sqlite3.Error) and _primary_code(error) in _LOCKED)


def is_damaged(error: Exception) -> bool:
    """Whether SQLite says that the file is no database, or not a whole one."""
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, sqlite3.Error) and (_primary_code(error) in damage or "not a database" in str(error))


def locked(waited_s: float) -> BridgeError:
    """The error for a store that stayed locked for `waited_s` seconds."""
    return BridgeError(
        "unavailable",
        f"the store stayed locked by another process for {waited_s:g} s; nothing was changed, repeat the call",
        retry_after=RETRY_AFTER_S,
        details={"limit": "store_lock_ms"},
    )


def to_bridge_error(error: Exception) -> BridgeError:
    """Return the closed error for what a database driver raised."""
    if isinstance(error, BridgeError):
        return error
    known = _classify(error)
    known.__cause__ = error
    return known


def _classify(error: Exception) -> BridgeError:
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error)
    if (state := getattr(error, "sqlstate", None)) or _is_driver_error(error):
        return _from_postgres(error, state or "08000")
    return BridgeError("internal", f"the store failed with {type(error).__name__}; see the log")


def _primary_code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _from_sqlite(error: sqlite3.Error) -> BridgeError:
    code = _primary_code(error)
    if code in _LOCKED:
        return locked(0)
    # Not every path of Python's module sets a code; these two come from the file itself.
    if code is None and "not a database" in str(error):
        code = sqlite3.SQLITE_NOTADB
    message, passes = _SQLITE_MESSAGES.get(
        code or 0, (f"the store failed ({type(error).__name__}, code {code})", False)
    )
    return BridgeError("unavailable", message, retryable=passes, retry_after=RETRY_AFTER_S if passes else None)


def _is_driver_error(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "psycopg"


def _from_postgres(error: Exception, state: str) -> BridgeError:
    message = _POSTGRES_MESSAGES.get(state[:2])
    if message is None:
        return BridgeError("internal", f"the store's database failed with {type(error).__name__} (SQLSTATE {state})")
    passes = state[:2] not in {"25", "28"}
    text = f"{message} (SQLSTATE {state}); what was acknowledged is kept" + (", repeat the call" if passes else "")
    return BridgeError("unavailable", text, retryable=passes, retry_after=RETRY_AFTER_S if passes else None)


__all__ = ["RETRY_AFTER_S", "StoreLocked", "is_damaged", "is_locked", "locked", "to_bridge_error"]
