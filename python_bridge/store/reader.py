"""Reads: small ones of a SQLite file in the loop, all others in a thread."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from python_bridge.errors import BridgeError
from python_bridge.store.database import Database
from python_bridge.store.faults import is_locked, locked, to_bridge_error
from python_bridge.store.statements import DriverConnection, Transaction

T = TypeVar("T")


class Reader:
    """Runs read operations, each on one consistent state of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._quick: DriverConnection | None = None
        self._slow: DriverConnection | None = None
        self._closed = False

    async def run(self, operation: Callable[[Transaction], T], *, heavy: bool = False, single: bool = False) -> T:
        """Return what `operation` reads.

        Args:
            heavy: it reads much, so it runs in the thread.
            single: it is one statement, which is a transaction of its own.

        Raises:
            BridgeError: what the operation raised; `unavailable` for a store that can't be read.
        """
        if self._closed:
            raise BridgeError("unavailable", "the store is closed", retryable=False)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._database.settings.lock_timeout_s
        while True:
            try:
                if self._database.is_sqlite and not heavy:
                    return self._in_loop(operation, single=single)
                return await loop.run_in_executor(self._executor, self._in_thread, operation)
            except BridgeError:
                raise
            except Exception as error:
                if not is_locked(error):
                    raise to_bridge_error(error) from error
                if loop.time() > deadline:
                    raise locked(self._database.settings.lock_timeout_s) from error
            await asyncio.sleep(random.uniform(0.001, 0.02))

    async def in_thread(self, action: Callable[[], T]) -> T:
        """Run a blocking action after the reads that wait."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, action)

    async def close(self) -> None:
        """Close the connections once the reads under way are done."""
        self._closed = True
        await self.in_thread(self._drop)
        self._executor.shutdown(wait=False)

    def _in_loop(self, operation: Callable[[Transaction], T], *, single: bool) -> T:
        connection = self._quick = self._quick or self._database.connect()
        if single:
            return operation(self._database.transaction(connection))
        return self._snapshot(connection, operation)

    def _in_thread(self, operation: Callable[[Transaction], T]) -> T:
        connection = self._slow
        if connection is not None and not self._is_alive(connection):
            connection = None
        connection = self._slow = connection or self._database.connect()
        return self._snapshot(connection, operation)

    def _is_alive(self, connection: DriverConnection) -> bool:
        if self._database.is_sqlite:
            return True
        try:
            connection.execute("SELECT 1")
        except Exception:
            with suppress(Exception):
                connection.close()
            return False
        return True

    def _snapshot(self, connection: DriverConnection, operation: Callable[[Transaction], T]) -> T:
        connection.execute("BEGIN" if self._database.is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            return operation(self._database.transaction(connection))
        finally:
            with suppress(Exception):
                connection.execute("COMMIT")

    def _drop(self) -> None:
        for connection in (self._quick, self._slow):
            if connection is not None:
                with suppress(Exception):
                    connection.close()
        self._quick = self._slow = None


__all__ = ["Reader"]
