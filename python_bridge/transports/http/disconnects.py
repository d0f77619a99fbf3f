"""Work that ends with its client."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from python_bridge.errors import BridgeError

_LATER_S = 0.02

T = TypeVar("T")


async def unless_gone(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Await the work in this task; when the client goes away first, stop it.

    Args:
        receive: the request's, whose body was read.

    Raises:
        BridgeError: `cancelled` when the client went away.
    """
    watch = _Watch(receive)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        raise BridgeError("cancelled", "the client went away; the work was stopped") from None
    finally:
        watch.close()


class _Watch:
    """Cancels the task that made it when the client goes away; begins late, as most work is done before."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(_LATER_S, self._begin)
        self.gone = False

    def close(self) -> None:
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        if self.gone and self._task is not None:
            self._task.uncancel()

    def _begin(self) -> None:
        self._watching = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel()


__all__ = ["unless_gone"]
