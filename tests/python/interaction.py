"""What the tests of the interaction between a client and a worker share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from links import PROGRAM, Link

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient

Connect = Callable[..., AbstractAsyncContextManager[Link]]


async def error_of(awaitable: Any) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await awaitable
    return caught.value


def call(*script: dict[str, Any]) -> dict[str, Any]:
    return {"program": PROGRAM, "inputs": {"script": list(script)}}


def token(text: str) -> dict[str, Any]:
    return {"emit": {"type": "token", "field": "answer", "text": text, "last": False}}


async def status_when(client: BridgeClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the status until it is as wanted; each answer is a turn of the worker's loop."""
    while not wanted(status := await client.request("worker/status")):
        pass
    return status
