"""Channels to workers that serve gRPC."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest
from links import NO_LIMITS, TOKEN, grpc_worker

from python_bridge._proto.bridge_pb2_grpc import BridgeStub

METADATA = (("authorization", f"Bearer {TOKEN}"),)


class Served:
    """A worker process, a channel to it, and the stub of the bridge."""

    def __init__(self, process: Any, channel: grpc.aio.Channel, target: str) -> None:
        self.process = process
        self.channel = channel
        self.target = target
        self.stub = BridgeStub(channel)


@pytest.fixture
def served() -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Return a context manager that gives a new worker: ``served(max_queue=…)``."""

    @asynccontextmanager
    async def serve(**settings: Any) -> Any:
        async with grpc_worker(settings) as (process, target), grpc.aio.insecure_channel(target, NO_LIMITS) as channel:
            yield Served(process, channel, target)

    return serve
