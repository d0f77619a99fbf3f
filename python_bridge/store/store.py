"""An open store: changes, reads, and the care of its file."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from python_bridge.store.committer import Committer
from python_bridge.store.database import Database
from python_bridge.store.reader import Reader
from python_bridge.store.settings import StoreSettings
from python_bridge.store.statements import Transaction

T = TypeVar("T")

_GROUPS_A_CHECK = 256
_LOG_BYTES = 4 * 1024 * 1024
_LARGE_LOG_BYTES = 64 * 1024 * 1024


class Store:
    """Made by `Store.open`, used from one event loop, closed by `close`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        in_thread = not database.is_sqlite or database.settings.power_safe
        self._committer = Committer(database, in_thread=in_thread, on_group=self._count_group)
        self._reader = Reader(database)
        self._groups = 0
        self._checkpoint: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: StoreSettings) -> "Store":
        """Open the store, making and migrating it as needed.

        Raises:
            BridgeError: `invalid_request` for settings that can't work; `unavailable` for a store that can't be opened,
                stayed locked, is damaged, or was made by a newer version.
        """
        database = Database(settings)
        await asyncio.to_thread(database.open)
        return cls(database)

    @property
    def label(self) -> str:
        """The store for people: a path, or a URL without its password."""
        return self._database.label

    async def write(self, operation: Callable[[Transaction], T], *, heavy: bool = False) -> T:
        """Run a change in a transaction; see `Committer.submit`."""
        return await self._committer.submit(operation, heavy=heavy)

    async def read(self, operation: Callable[[Transaction], T], *, heavy: bool = False, single: bool = False) -> T:
        """Run a read; see `Reader.run`."""
        return await self._reader.run(operation, heavy=heavy, single=single)

    async def close(self) -> None:
        """Finish what was begun and close all connections."""
        await self._committer.close()
        if self._checkpoint is not None:
            with suppress(Exception):
                await self._checkpoint
        await self._reader.close()

    def _count_group(self) -> None:
        self._groups += 1
        idle = self._checkpoint is None or self._checkpoint.done()
        if self._database.is_sqlite and idle and self._groups >= _GROUPS_A_CHECK:
            self._groups = 0
            self._checkpoint = asyncio.get_running_loop().create_task(self._reader.in_thread(self._copy_log_back))

    def _copy_log_back(self) -> None:
        """SQLite: copy the write-ahead log into the main file, else it would grow for ever."""
        size = self._database.log_bytes()
        if size < _LOG_BYTES:
            return
        # PASSIVE never stops a writer. It can't shorten a log that is written all the time; RESTART can.
        mode = "PASSIVE" if size < _LARGE_LOG_BYTES else "TRUNCATE"
        with suppress(Exception):  # a busy log is copied the next time
            self._database.checkpoint(mode)


__all__ = ["Store"]
