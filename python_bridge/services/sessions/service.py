"""The sessions of a worker as a whole: opened at their first use, swept in the background, closed with the worker."""

import asyncio
import logging
import os
import random
import secrets
import socket
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.answers import Answers
from python_bridge.services.sessions.clock import SteadyClock
from python_bridge.services.sessions.limits import SessionSettings
from python_bridge.services.sessions.manager import SessionManager
from python_bridge.store.settings import StoreSettings

if TYPE_CHECKING:
    from python_bridge.store.store import Store

_log = logging.getLogger(__name__)


def preload() -> None:
    """Import what a store needs: 150 ms, at the first session or before a fork."""
    import_module("python_bridge.store.sessions")


class SessionService:
    """Opens the store when the first session is used: a worker without sessions has none."""

    def __init__(self, store: StoreSettings, settings: SessionSettings) -> None:
        self._store_settings = store
        self._settings = settings
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"  # for people; the epoch decides
        self._clock = SteadyClock()
        self._lock = asyncio.Lock()
        self._store: Store | None = None
        self._manager: SessionManager | None = None
        self._answers: Answers | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    async def manager(self) -> SessionManager:
        """Return the sessions, opening their store if need be.

        Raises:
            BridgeError: what `Store.open` raises; the next call tries again.
        """
        if self._manager is not None:
            return self._manager
        async with self._lock:
            if self._closed:
                raise BridgeError("unavailable", "the worker ends; use another one")
            if self._manager is None:
                await asyncio.to_thread(preload)
                from python_bridge.store.sessions import SessionStore
                from python_bridge.store.store import Store

                self._store = await Store.open(self._store_settings)
                sessions = SessionStore(self._store)
                self._answers = Answers(sessions, self._settings, self._clock)
                self._manager = SessionManager(sessions, self._settings, owner=self._owner, clock=self._clock)
                self._sweeper = asyncio.get_running_loop().create_task(self._sweep(self._manager))
            return self._manager

    async def answers(self) -> Answers:
        """Return the answers to calls outside of sessions, opening the store if need be.

        Raises:
            BridgeError: what `Store.open` raises; the next call tries again.
        """
        await self.manager()
        if self._answers is None:
            raise BridgeError("unavailable", "the worker ends; use another one")
        return self._answers

    async def close(self) -> None:
        """Finish what is being committed and close the store."""
        async with self._lock:
            self._closed, self._manager = True, None
            if self._sweeper is not None:
                self._sweeper.cancel()
                with suppress(asyncio.CancelledError):
                    await self._sweeper
            if self._store is not None:
                await self._store.close()

    async def _sweep(self, manager: SessionManager) -> None:
        while True:
            # Jitter keeps the workers of a pool from sweeping all at the same moment.
            await asyncio.sleep(self._settings.sweep_s * random.uniform(0.5, 1.5))
            try:
                await manager.sweep()
            except BridgeError as error:
                _log.warning("expired sessions were not deleted: %s", error.message)


__all__ = ["SessionService", "preload"]
