"""Whole workers in memory over one store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings
from python_bridge.testing.client import BridgeClient
from python_bridge.testing.engine import ScriptedEngine
from python_bridge.worker.memory import memory_worker


class Workers:
    """Makes workers over one store, each with a client."""

    def __init__(self, stack: AsyncExitStack, url: str) -> None:
        self._stack = stack
        self._url = url

    async def client(self, tools: Any = None, **settings: Any) -> BridgeClient:
        worker = memory_worker(Settings(store=self._url, **settings), engine=ScriptedEngine(), tools=tools)
        return await self._stack.enter_async_context(worker)


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(stack, f"sqlite:///{tmp_path}/sessions.db")


@pytest.fixture
async def client(workers: Workers) -> BridgeClient:
    return await workers.client()


async def refused(call: Any) -> BridgeError:
    """Return the error that a call is answered with."""
    with pytest.raises(BridgeError) as caught:
        await call
    return caught.value
