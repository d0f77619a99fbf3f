"""Gets the engine ready behind the first client's back, and tells all clients how it went."""

import asyncio
import contextlib
import gc
import sys
import time
from typing import Any

from python_bridge.engine.interface import Engine
from python_bridge.errors import BridgeError
from python_bridge.services.dispatch import Dispatcher
from python_bridge.services.faults import to_bridge_error
from python_bridge.services.operations import WorkerOperations
from python_bridge.settings import Settings
from python_bridge.worker.extras import check_extras

_ENGINE = "python_bridge.engine.engine"
_THRESHOLDS = (20_000, 20, 20)  # a call makes thousands of short-lived objects; the default is a round every 700
EXIT_NO_ENGINE = 78  # EX_CONFIG: starting again will not help


def _preload() -> None:
    """Import dspy in a thread, so that pings are answered meanwhile; `load_engine` reports what fails."""
    with contextlib.suppress(Exception):
        from python_bridge.engine.load import preload

        preload()


def make_engine(settings: Settings) -> Engine:
    """Return the engine that the settings name. Call it in the main thread.

    Raises:
        BridgeError: `unavailable`, with the line to run.
    """
    check_extras(settings.extras)
    if settings.engine == "scripted":
        from python_bridge.testing.engine import ScriptedEngine

        return ScriptedEngine(settings)
    from python_bridge.engine.load import load_engine

    engine: Any = load_engine(settings)
    return engine


async def boot(
    dispatcher: Dispatcher, operations: WorkerOperations, engine: Engine | None = None, *, warm: bool = True
) -> Engine | None:
    """Load the engine, warm it up, and let work begin. Without an engine the process ends with status 78.

    Args:
        engine: one that is loaded already.
        warm: whether to pay the first call's costs now; a fork server has paid them for its children.
    """
    started = time.perf_counter()
    try:
        if engine is None:
            if dispatcher.settings.engine == "dspy" and _ENGINE not in sys.modules:
                await asyncio.to_thread(_preload)
            engine = make_engine(dispatcher.settings)
        if warm:
            await engine.warm_up()
        operations.set_engine(engine)
    except Exception as exception:
        dispatcher.engine_failed(_unavailable(exception))
        dispatcher.end(EXIT_NO_ENGINE)
        return None
    _spare_the_collector(warm)
    boot_ms = round((time.perf_counter() - started) * 1000, 3)
    dispatcher.engine_ready(engine.dspy_version, engine.features, boot_ms)
    return engine


def _spare_the_collector(fresh: bool) -> None:
    """Let the collector leave alone what a worker keeps for good: walking dspy's modules costs each call its share."""
    if fresh:  # children of a fork server have inherited a frozen heap
        gc.collect()
        gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def _unavailable(exception: Exception) -> BridgeError:
    error = to_bridge_error(exception, "loading the engine")
    if error.kind == "unavailable":
        return error
    return BridgeError("unavailable", f"the engine cannot be loaded: {error.message}", retryable=False)


__all__ = ["EXIT_NO_ENGINE", "boot", "make_engine"]
