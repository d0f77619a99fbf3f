"""The sessions of a store without a worker: the same operations that workers answer, called directly."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from python_bridge.engine.interface import Engine
from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import Meta, Request
from python_bridge.services.programs import ProgramCache
from python_bridge.services.sessions import params as p
from python_bridge.services.sessions.operations import SessionOperations
from python_bridge.services.sessions.service import SessionService
from python_bridge.settings import Settings
from python_bridge.store.location import resolve_url
from python_bridge.worker.assembly import session_settings, store_settings
from python_bridge.worker.boot import make_engine

_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """Stands where a worker's call would."""

    request: Request


class _Programs:
    """Checks programs as a worker does; dspy is imported for the first one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._cache: ProgramCache | None = None

    def create(self, program: Mapping[str, Any]) -> str:
        if self._cache is None:
            self._engine = make_engine(self._settings)
            self._cache = ProgramCache(self._engine, self._settings.max_programs)
        return self._cache.create(program)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()


class StoredSessions:
    """The sessions of one tenant."""

    def __init__(self, operations: SessionOperations, tenant: str | None) -> None:
        self._operations = operations
        self._tenant = tenant

    async def listing(self, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` sessions, by id."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while len(found) < limit:
            params = p.ListParams(after, min(_PAGE, limit - len(found)))
            page = await self._operations.page(self._asked("session.list"), params)
            found += page["sessions"]
            if (after := page["next"]) is None:
                break
        return found

    async def shown(self, session: str, entries: int) -> dict[str, Any]:
        """Return the description of a session, with the newest `entries` of its history."""
        shown = await self._operations.describe(self._asked("session.describe"), p.SessionParams(session))
        if not entries:
            return shown
        after = shown["history"]["next"] - 1 - entries
        params = p.HistoryParams(session, after, min(entries, _PAGE))
        newest = await self._operations.history(self._asked("session.history"), params)
        return {**shown, "newest": [{"seq": e["seq"], "at": e["at"], **e["fields"]} for e in newest["entries"]]}

    async def export(self, session: str) -> dict[str, Any]:
        """Return the document of a session."""
        return (await self._operations.export(self._asked("session.export"), p.SessionParams(session)))["document"]

    async def import_(self, document: dict[str, Any], session: str | None) -> dict[str, Any]:
        """Make a session of a document; return its description."""
        return await self._operations.import_(self._asked("session.import"), p.ImportParams(document, session))

    async def close(self, sessions: list[str]) -> dict[str, bool]:
        """Delete sessions; return which of them there were."""
        asked, close = self._asked("session.close"), self._operations.close
        return {session: (await close(asked, p.SessionParams(session)))["closed"] for session in sessions}

    def _asked(self, method: str) -> _Asked:
        return _Asked(Request(0, method, {}, Meta(tenant=self._tenant)))


@asynccontextmanager
async def open_sessions(settings: Settings, tenant: str | None) -> AsyncIterator[StoredSessions]:
    """Open the store of the settings for the block. A SQLite file that is not there is not made.

    Raises:
        BridgeError: `not_found` when there is no store; what opening it and the operations raise.
    """
    chosen = store_settings(settings)
    url = resolve_url(chosen)
    if url.get_backend_name() == "sqlite" and not os.path.exists(url.database or ""):  # noqa: ASYNC240 - nothing waits
        text = f"there is no store {url.database}; set --store or --instance as the workers have it"
        raise BridgeError("not_found", text)
    service, programs = SessionService(chosen, session_settings(settings)), _Programs(settings)
    try:
        yield StoredSessions(SessionOperations(await service.manager(), programs), tenant)
    finally:
        await programs.close()
        await service.close()


__all__ = ["StoredSessions", "open_sessions"]
