"""One database: its connections, and how it is opened and migrated. Everything here may block; nothing is async."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from python_bridge.errors import BridgeError
from python_bridge.store.faults import StoreLocked, is_locked, locked, to_bridge_error
from python_bridge.store.location import prepare_file, resolve_url
from python_bridge.store.migrations import migrate
from python_bridge.store.settings import StoreSettings
from python_bridge.store.statements import Compiler, DriverConnection, Transaction

T = TypeVar("T")

_ADVISORY_LOCK = 0x64737065785F6462
_POSTGRES_WAITS = "-c lock_timeout={lock_ms} -c statement_timeout=60000 -c idle_in_transaction_session_timeout=60000"


class Database:
    """A SQLite file or a PostgreSQL database.

    Connections belong to the process that opened the database: after a fork, open another one in the child.
    """

    def __init__(self, settings: StoreSettings) -> None:
        """
        Raises:
            BridgeError: `invalid_request` for a URL that is not supported, or a driver that is not installed.
        """
        self.settings = settings
        self._url = resolve_url(settings)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = self._make_engine()
        self.compiler = Compiler(self._engine.dialect)
        self._pid = os.getpid()

    @property
    def path(self) -> Path | None:
        """The SQLite file; ``None`` for other databases."""
        return Path(self._url.database or "") if self.is_sqlite else None

    @property
    def label(self) -> str:
        """The store for people: a path, or a URL without its password."""
        return str(self.path) if self.is_sqlite else self._url.render_as_string(hide_password=True)

    def open(self) -> None:
        """Make the file when there is none, and bring the tables to this version; several processes may do so at once.

        Raises:
            BridgeError: `unavailable`: not writable, damaged, locked for too long, or of a newer version.
        """
        if self.path is not None:
            prepare_file(self.path)
        try:
            with self._engine.connect() as connection:
                self._wait_for_lock(lambda: self._prepare(connection))
        except BridgeError:
            raise
        except Exception as error:
            cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
            raise to_bridge_error(cast(Exception, cause)) from error

    def connect(self) -> DriverConnection:
        """Return a driver's connection in autocommit mode: transactions are begun and ended in words.

        Raises:
            StoreLocked: another process opens or closes the file at this moment (SQLite).
        """
        if os.getpid() != self._pid:
            raise BridgeError("internal", "a store was carried over a fork; open it after the fork")
        try:
            pooled = self._engine.raw_connection()
        except DBAPIError as error:
            raise to_bridge_error(cast(Exception, error.orig)) from error
        connection = cast(Any, pooled.driver_connection)
        pooled.detach()
        if self.is_sqlite:
            self._configure(connection)
        return connection

    def _configure(self, connection: DriverConnection) -> None:
        # The first thing that looks into the file: whoever closes it last, or mends its log, holds all of it just then.
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if self.settings.power_safe else 'NORMAL'}")
            # The log is copied back beside the work, never in the middle of a commit.
            connection.execute("PRAGMA wal_autocheckpoint=0")
        except Exception as error:
            connection.close()
            if is_locked(error):
                raise StoreLocked from error
            raise

    def transaction(self, connection: DriverConnection) -> Transaction:
        """Return the runner of statements for `connection`."""
        return Transaction(connection, self.compiler)

    def begin(self, connection: DriverConnection) -> None:
        """Begin a transaction that writes.

        Raises:
            StoreLocked: another process writes now (SQLite); nothing has begun.
        """
        try:
            connection.execute("BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN")
        except Exception as error:
            if is_locked(error):
                raise StoreLocked from error
            raise

    def log_bytes(self) -> int:
        """Return the size of SQLite's write-ahead log; 0 when there is none."""
        log = Path(f"{self.path}-wal")
        return log.stat().st_size if log.exists() else 0

    def checkpoint(self, mode: str) -> None:
        """Copy SQLite's write-ahead log into the main file."""
        connection = self.connect()
        try:
            connection.execute("PRAGMA busy_timeout=200")
            connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        finally:
            connection.close()

    def _make_engine(self) -> sa.Engine:
        if self.is_sqlite:
            # timeout 0: whoever waits for a lock does so outside of SQLite, where nothing is blocked by it.
            arguments: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, "timeout": 0}
        else:
            waits = _POSTGRES_WAITS.format(lock_ms=int(self.settings.lock_timeout_s * 1000))
            arguments = {"autocommit": True, "connect_timeout": 10, "options": waits}
        try:
            engine = sa.create_engine(self._url, poolclass=NullPool, connect_args=arguments)
        except ModuleNotFoundError:
            text = "PostgreSQL needs a driver that is not installed: pip install 'python-bridge[postgres]'"
            raise BridgeError("invalid_request", text) from None
        return engine

    def _prepare(self, connection: sa.Connection) -> None:
        if self.is_sqlite:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.rollback()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        try:
            migrate(connection)
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        finally:
            connection.rollback()

    def _wait_for_lock(self, action: Callable[[], T]) -> T:
        deadline = time.monotonic() + self.settings.lock_timeout_s
        while True:
            try:
                return action()
            except DBAPIError as error:
                if not is_locked(cast(Exception, error.orig)):
                    raise
                if time.monotonic() >= deadline:
                    raise locked(self.settings.lock_timeout_s) from error
            time.sleep(random.uniform(0.002, 0.02))


__all__ = ["Database"]
