"""What database drivers raise, as errors of the closed set."""

import sqlite3

import psycopg
import pytest

from python_bridge.errors import BridgeError
from python_bridge.store.faults import locked, to_bridge_error

pytestmark = pytest.mark.req("NFR2.2.1", "NFR2.2.2")


class FromSqlite(sqlite3.OperationalError):
    """As SQLite raises it: with an extended code, and texts that may hold values."""

    def __init__(self, code: int) -> None:
        super().__init__("INSERT INTO x VALUES ('secret')")
        self.sqlite_errorcode = code


@pytest.mark.parametrize(
    ("code", "text", "retryable"),
    [
        (sqlite3.SQLITE_FULL, "disk is full", True),
        (sqlite3.SQLITE_IOERR_WRITE, "disk failed or is full", True),
        (sqlite3.SQLITE_BUSY, "stayed locked", True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "stayed locked", True),
        (sqlite3.SQLITE_READONLY_DBMOVED, "can't be written", False),
        (sqlite3.SQLITE_CANTOPEN, "can't be opened", False),
        (sqlite3.SQLITE_CORRUPT, "is damaged", False),
        (sqlite3.SQLITE_NOTADB, "no SQLite database", False),
        (sqlite3.SQLITE_ERROR, "the store failed", False),
    ],
)
def test_each_fault_of_sqlite_says_what_to_do_and_whether_it_passes(code: int, text: str, retryable: bool) -> None:
    error = to_bridge_error(FromSqlite(code))
    assert (error.kind, error.retryable, error.retry_after is not None) == ("unavailable", retryable, retryable)
    assert text in error.message
    assert "secret" not in error.message


class FromPostgres(psycopg.Error):
    """As a server raises it."""

    def __init__(self, state: str) -> None:
        super().__init__("relation of secret")
        self.sqlstate = state


@pytest.mark.parametrize(
    ("state", "text", "kind", "retryable"),
    [
        ("53100", "out of space", "unavailable", True),
        ("57P01", "was stopped", "unavailable", True),
        ("08006", "connection to the store", "unavailable", True),
        ("55P03", "is locked", "unavailable", True),
        ("40001", "another one crossed it", "unavailable", True),
        ("25006", "takes no changes", "unavailable", False),
        ("28P01", "refused the user", "unavailable", False),
        ("42P01", "SQLSTATE 42P01", "internal", False),
    ],
)
def test_each_class_of_postgresql_is_told(state: str, text: str, kind: str, retryable: bool) -> None:
    error = to_bridge_error(FromPostgres(state))
    assert (error.kind, error.retryable) == (kind, retryable)
    assert text in error.message
    assert "secret" not in error.message


def test_a_driver_that_has_no_word_of_the_server_lost_it() -> None:
    error = to_bridge_error(psycopg.OperationalError("connection refused for secret"))
    assert (error.kind, error.retryable) == ("unavailable", True)
    assert "secret" not in error.message


def test_errors_of_the_set_stay_and_others_are_named() -> None:
    known = BridgeError("conflict", "x")
    assert to_bridge_error(known) is known
    error = to_bridge_error(ValueError("secret"))
    assert error.kind == "internal"
    assert "ValueError" in error.message
    assert "secret" not in error.message


def test_a_locked_store_names_its_setting() -> None:
    assert locked(5.0).details == {"limit": "store_lock_ms"}
