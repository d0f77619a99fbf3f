"""The composition root of a worker, and its life: signals, parent, end of the wire, exit status."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from python_bridge.engine.interface import Engine
from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.observability.logs import configure_logging
from python_bridge.services.observability.redaction import Redactor, secrets_of
from python_bridge.services.operations import WorkerOperations
from python_bridge.settings import Settings
from python_bridge.transports.grpc import require_grpc
from python_bridge.transports.sockets import address_of, bind, serve_socket
from python_bridge.transports.stdio import Wire, claim_stdio, serve_pipes
from python_bridge.worker.assembly import assemble
from python_bridge.worker.boot import boot
from python_bridge.worker.parent import die_with_parent, watch_parent
from python_bridge.worker.resources import apply_resources

EXIT_FORCED = 128 + signal.SIGTERM
_CLOSE_S = 1.0

Serve = Callable[[Dispatcher], Awaitable[Awaitable[Any]]]
"""Opens a transport; the awaitable that it gives is done when there is nobody left to serve."""


def run_worker(settings: Settings) -> int:
    """Run a worker until it ends; return its exit status.

    0 after `shutdown`, SIGTERM or the end of the wire; 75 when it is to be replaced, for it has reached a limit of
    memory, age, calls or abandoned threads; 78 when the engine cannot be loaded; 143 after a second SIGTERM. On a
    socket it first says on standard output where it listens.

    Raises:
        SettingsError: the address cannot be listened on, or the system refuses what the settings ask of it.
    """
    piped = settings.listen == "stdio"  # whoever started it is its client, and need not show a token
    worker = Worker(replace(settings, token=None) if piped else settings)  # first of all: it notes who its parent is
    prepare_process(settings)
    if piped:
        serve = serve_stdio(claim_stdio())
    elif settings.listen.startswith("grpc:"):
        require_grpc()
        serve = serve_over_grpc
    else:
        listener = bind(settings)
        _tell_address(address_of(listener))
        serve = serve_listener(listener)
    return run_loop(worker.run(serve))


def _tell_address(address: str) -> None:
    sys.stdout.write(f"listening on {address}\n")
    sys.stdout.flush()


def prepare_process(settings: Settings) -> None:
    """Give this process what the settings say: its logs, niceness, processors and devices. After a fork, in the child.

    Raises:
        SettingsError: the system refuses it.
    """
    configure_logging(settings.log_level, settings.log_format, Redactor(secrets_of(settings)))
    apply_resources(settings)


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` on uvloop where it is installed. Threads that never end do not keep the process.

    Does not return: ends the process with the status that `main` gives.
    """
    try:
        from uvloop import new_event_loop as factory
    except ImportError:
        factory = asyncio.new_event_loop
    loop = factory()
    asyncio.set_event_loop(loop)
    status = loop.run_until_complete(main)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def serve_stdio(wire: Wire) -> Serve:
    """Return how to serve the one client at the other end of standard input and output."""

    async def serve(dispatcher: Dispatcher) -> Awaitable[Any]:
        return (await serve_pipes(dispatcher, wire)).closed

    return serve


def serve_listener(listener: socket.socket) -> Serve:
    """Return how to serve the clients of a socket: they come and go, and the worker stays."""

    async def serve(dispatcher: Dispatcher) -> Awaitable[Any]:
        server = await serve_socket(dispatcher, listener)
        path = listener.getsockname() if listener.family == socket.AF_UNIX else None
        served = dispatcher.loop.create_future()

        def close(ended: asyncio.Future[int]) -> None:
            server.close()
            if path is not None:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            served.set_result(None)

        dispatcher.ended.add_done_callback(close)
        return served

    return serve


async def serve_over_grpc(dispatcher: Dispatcher) -> Awaitable[Any]:
    """Serve gRPC clients at `settings.listen`.

    Raises:
        SettingsError: the address cannot be used.
    """
    from python_bridge.transports.grpc.server import serve_grpc

    address, served = await serve_grpc(dispatcher)
    _tell_address(address)
    return served


class Worker:
    """The life of one worker process."""

    def __init__(self, settings: Settings, engine: Engine | None = None, *, warm: bool = True) -> None:
        self._settings = settings
        self._parent = os.getppid()
        self._engine = engine
        self._warm = warm

    async def run(self, serve: Serve) -> int:
        """Serve until the end; return the exit status."""
        services = assemble(self._settings)
        dispatcher, operations = services.dispatcher, services.operations
        self._watch_signals(dispatcher)
        watch_parent(dispatcher.loop, self._parent, lambda: dispatcher.drain(0, "parent"))
        served = asyncio.ensure_future(await serve(dispatcher))
        if self._settings.listen == "stdio":
            await asyncio.wait({served, dispatcher.greeted, dispatcher.ended}, return_when=asyncio.FIRST_COMPLETED)
        booting = asyncio.create_task(self._boot(dispatcher, operations))
        die_with_parent()
        await asyncio.wait({served, dispatcher.ended}, return_when=asyncio.FIRST_COMPLETED)
        booting.cancel()
        status = await self._end(dispatcher, served)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(services.close(), _CLOSE_S)
        return status

    async def _boot(self, dispatcher: Dispatcher, operations: WorkerOperations) -> None:
        self._engine = await boot(dispatcher, operations, self._engine, warm=self._warm)

    async def _end(self, dispatcher: Dispatcher, served: asyncio.Future[Any]) -> int:
        dispatcher.end(0)
        await asyncio.wait({served}, timeout=_CLOSE_S)
        if self._engine is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._engine.close(), _CLOSE_S)
        return dispatcher.ended.result()

    def _watch_signals(self, dispatcher: Dispatcher) -> None:
        def stop() -> None:
            if dispatcher.draining:
                dispatcher.end(EXIT_FORCED)
            else:
                dispatcher.drain(self._settings.drain_ms, "signal")

        for signum in (signal.SIGTERM, signal.SIGINT):
            dispatcher.loop.add_signal_handler(signum, stop)


__all__ = ["EXIT_FORCED", "Worker", "prepare_process", "run_loop", "run_worker", "serve_listener", "serve_stdio"]
