"""Puts the services of one worker together."""

from dataclasses import dataclass

from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.operations import WorkerOperations
from python_bridge.services.sessions.limits import SessionLimits, SessionSettings
from python_bridge.services.sessions.service import SessionService
from python_bridge.services.sessions.table import SessionTable
from python_bridge.settings import Settings
from python_bridge.store.settings import StoreSettings


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker serves with. `close` comes after the dispatcher has ended."""

    dispatcher: Dispatcher
    operations: WorkerOperations
    sessions: SessionService

    async def close(self) -> None:
        """Finish what is being committed, and close the store."""
        await self.sessions.close()


def assemble(settings: Settings) -> Services:
    """Return the services of a worker within the running loop; the engine comes later, the store when it is used."""
    operations = WorkerOperations(settings)
    store = StoreSettings(url=settings.store, instance=settings.instance, power_safe=settings.store_power_safe)
    sessions = SessionService(store, session_settings(settings))
    table = SessionTable(sessions, lambda: operations.programs)
    operations.sessions = table
    return Services(Dispatcher({**operations.table(), **table.table()}, settings), operations, sessions)


def session_settings(settings: Settings) -> SessionSettings:
    """Return what the worker's settings say of its sessions."""
    limits = SessionLimits(
        ttl_ms=settings.session_ttl_ms, idle_ms=settings.session_idle_ms, max_bytes=settings.session_max_bytes
    )
    return SessionSettings(limits=limits, max_sessions=settings.max_sessions)


__all__ = ["Services", "assemble", "session_settings"]
