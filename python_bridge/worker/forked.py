"""What a fork server does before its first fork, and what a worker does after it."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Awaitable
from importlib import import_module
from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.observability import logs
from python_bridge.settings import Settings, SettingsError
from python_bridge.worker.boot import make_engine
from python_bridge.worker.main import Serve, Worker, prepare_process, run_loop, serve_listener
from python_bridge.worker.parent import die_with_parent

# Libraries for linear algebra start threads when they are imported, and threads do not survive a fork.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# What a fresh worker imports on its way, behind its first answer.
_LATER = ("uvloop", "python_bridge.services.limits.monitor", "python_bridge.services.limits.policy")
_EXIT_USAGE = 2


def preload(settings: Settings) -> None:
    """Import everything that workers need, and run the engine once.

    Raises:
        BridgeError: `unavailable`: no engine, or the imports left threads behind.
    """
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    for name in _LATER:
        with contextlib.suppress(ImportError):
            import_module(name)
    logs.preload()
    import_module("python_bridge.services.executor.calls")
    engine = make_engine(settings)
    if "numpy" in sys.modules:
        import_module("numpy.random")

    async def once() -> None:
        await engine.warm_up()
        await engine.close()

    asyncio.run(once())
    if (threads := threading.enumerate()) != [threading.main_thread()]:
        names = ", ".join(thread.name for thread in threads)
        text = f"the fork server has threads after its imports ({names}); start fresh workers"
        raise BridgeError("unavailable", text, details={"start": "fresh"})


def run_child(settings: Settings, listener: socket.socket) -> object:
    """Live as a worker on `listener`. Does not return."""
    parent = os.getppid()
    worker = Worker(settings, warm=False)  # first of all: it notes who its parent is
    die_with_parent()
    try:
        prepare_process(settings)
    except SettingsError as error:
        logging.getLogger(__name__).error("this worker cannot run as its settings say: %s", error)
        os._exit(_EXIT_USAGE)
    listener.setblocking(False)
    return run_loop(worker.run(_serve(listener, parent)))


def _serve(listener: socket.socket, parent: int) -> Serve:
    """Return how to serve the clients of a child's socket."""
    serve, folder = serve_listener(listener), Path(listener.getsockname()).parent

    def tidy(ended: asyncio.Future[int]) -> None:
        """Do what a lost fork server cannot do any more; the last of its children finds the folder empty."""
        if os.getppid() != parent:
            with contextlib.suppress(OSError):
                folder.rmdir()

    async def serve_child(dispatcher: Dispatcher) -> Awaitable[Any]:
        served = await serve(dispatcher)
        dispatcher.ended.add_done_callback(tidy)  # after the socket was removed
        return served

    return serve_child


__all__ = ["preload", "run_child"]
