"""A whole worker within the caller's event loop, with a client connected to it in memory: for users' suites.

    async with memory_worker(lms={"default": ScriptedLM([{"answer": "42"}]).lm}) as client:
        prediction = await client.request("call", {"program": program, "inputs": {"question": "…"}})

Everything is real but the socket: frames, encodings, dispatch, deadlines, cancellation, streams with credit.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from python_bridge.engine.interface import Engine
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient, Tool
from python_bridge.transports.memory import connect_memory
from python_bridge.worker.assembly import assemble
from python_bridge.worker.boot import boot, make_engine


@asynccontextmanager
async def memory_worker(
    settings: Settings | None = None,
    *,
    lms: Mapping[str, Any] | None = None,
    engine: Engine | None = None,
    tools: dict[str, Tool] | None = None,
) -> AsyncIterator[BridgeClient]:
    """Run a worker and give a client that has shaken hands with it; both end with the block.

    Args:
        settings: of the worker.
        lms: ready `dspy.LM`s by name, such as `ScriptedLM(…).lm`; they win over the settings' ones. Give them engines
            of their own (`async_engine`).
        engine: instead of one made of the settings; `lms` are then its maker's business.
        tools: answer `tool/call`, by name.

    Raises:
        BridgeError: `unavailable`, when the engine cannot be loaded.
    """
    settings = settings or Settings()
    services = assemble(settings)
    dispatcher, operations = services.dispatcher, services.operations
    client = connect_memory(dispatcher, lambda: BridgeClient(tools=tools))
    running: Engine | None = None
    try:
        await client.initialize()
        running = await boot(dispatcher, operations, engine or _engine(settings, lms))
        if running is None:
            failure = await client.notification("worker/failed")
            raise BridgeError.from_object(failure["error"])
        await client.notification("ready")
        yield client
    finally:
        client.close()
        await asyncio.wait_for(client.closed, 5)
        dispatcher.end(0)
        if running is not None:
            await running.close()
        await services.close()


def _engine(settings: Settings, lms: Mapping[str, Any] | None) -> Engine:
    if lms is None:
        return make_engine(settings)
    from python_bridge.engine.load import load_engine

    engine: Any = load_engine(settings, lms=lms)
    return engine


__all__ = ["memory_worker"]
