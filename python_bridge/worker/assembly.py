"""Puts the services of one worker together."""

import asyncio
from dataclasses import dataclass

from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.learning import LearningOperations
from python_bridge.services.observability.logs import name_worker
from python_bridge.services.observability.operations import Observability
from python_bridge.services.observability.redaction import Redactor, secrets_of
from python_bridge.services.operations import WorkerOperations
from python_bridge.services.sessions.limits import SessionLimits, SessionSettings
from python_bridge.services.sessions.service import SessionService
from python_bridge.services.sessions.table import SessionTable
from python_bridge.settings import Settings
from python_bridge.store.settings import StoreSettings
from python_bridge.worker.resources import declared_features


@dataclass(frozen=True, slots=True)
class Services:
    """What a worker serves with. `close` comes after the dispatcher has ended."""

    dispatcher: Dispatcher
    operations: WorkerOperations
    sessions: SessionService
    observability: Observability

    async def close(self) -> None:
        """Finish what is being committed, and close the store."""
        self.operations.stop_watching()
        self.observability.close()
        await asyncio.to_thread(self.operations.close)
        await self.sessions.close()


def assemble(settings: Settings) -> Services:
    """Return the services of a worker within the running loop; the engine comes later, the store when it is used."""
    operations = WorkerOperations(settings)
    sessions = SessionService(store_settings(settings), session_settings(settings))
    table = SessionTable(sessions, lambda: operations.programs, lambda: operations.executor)
    operations.sessions = table
    observability = Observability(settings, Redactor(secrets_of(settings)))
    learning = LearningOperations(lambda: operations.engine, lambda: operations.programs)
    methods = {**operations.table(), **learning.table(), **table.table(), **observability.table()}
    dispatcher = Dispatcher(methods, settings)
    dispatcher.declare(["execution", *declared_features(settings)])
    observability.attach(dispatcher)
    name_worker(dispatcher.identity.worker_id)
    # Its imports come after the first client has its answer to initialize: starts are measured in milliseconds.
    dispatcher.greeted.add_done_callback(lambda _: _watch(dispatcher, operations, settings))
    return Services(dispatcher, operations, sessions, observability)


def _watch(dispatcher: Dispatcher, operations: WorkerOperations, settings: Settings) -> None:
    from python_bridge.services.limits.monitor import Monitor
    from python_bridge.services.limits.policy import RecyclePolicy

    monitor = operations.monitor = Monitor(
        dispatcher,
        RecyclePolicy.of(settings),
        operations.abandoned_threads,
        period_ms=settings.monitor_ms,
        grace_ms=settings.recycle_grace_ms,
    )
    monitor.start()


def store_settings(settings: Settings) -> StoreSettings:
    """Return what the worker's settings say of its store."""
    return StoreSettings(
        url=settings.store,
        instance=settings.instance,
        power_safe=settings.store_power_safe,
        lock_timeout_s=settings.store_lock_ms / 1000,
    )


def session_settings(settings: Settings) -> SessionSettings:
    """Return what the worker's settings say of its sessions."""
    limits = SessionLimits(
        ttl_ms=settings.session_ttl_ms, idle_ms=settings.session_idle_ms, max_bytes=settings.session_max_bytes
    )
    return SessionSettings(limits=limits, max_sessions=settings.max_sessions)


__all__ = ["Services", "assemble", "session_settings", "store_settings"]
