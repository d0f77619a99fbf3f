"""Step: the same question is answered once."""

import asyncio
from typing import Any

from python_bridge.engine.interface import CallResult
from python_bridge.errors import BridgeError
from python_bridge.services.executor.execution import Execution, Next
from python_bridge.services.executor.keys import Key, key_of
from python_bridge.services.executor.model import ExecutionMode
from python_bridge.services.executor.result_cache import ResultCache


class Caching:
    """Answers from the cache; of equal executions at a time one works and the others wait for it.

    Failures are not kept. When the one that works is stopped by its own deadline, another one takes over.
    """

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._flights: dict[bytes, asyncio.Future[CallResult | None]] = {}

    async def __call__(self, execution: Execution, proceed: Next) -> CallResult:
        key = find_key(execution)
        if key is None:
            return await proceed(execution)
        while (flight := self._flights.get(key.digest)) is not None:
            await asyncio.wait((flight,))  # unlike `await flight`, this leaves it alone when this one is cancelled
            if (found := self._cache.get(key.digest)) is not None:
                return found
            if not flight.cancelled() and (error := flight.exception()) is not None and not _own_fault(error):
                raise error
        found = self._cache.get(key.digest)
        if found is None and key.stable and self._cache.tier is not None:
            found = await asyncio.to_thread(self._cache.get_far, key.digest)
        if found is not None:
            return found
        return await self._lead(execution, proceed, key)

    async def _lead(self, execution: Execution, proceed: Next, key: Key) -> CallResult:
        flight: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._flights[key.digest] = flight
        try:
            result = await proceed(execution)
            if "fallback" not in execution.notes and not result.tool_calls:
                self._cache.put(key.digest, result, program=key.program, tenant=key.tenant)
                if key.stable and self._cache.tier is not None:
                    await asyncio.to_thread(self._cache.put_far, key.digest)
        except BridgeError as error:
            flight.set_exception(error)
            flight.exception()  # nobody need wait for it
            raise
        finally:
            del self._flights[key.digest]
            if not flight.done():
                flight.cancel()
        result.cache = "miss"
        return result


def find_key(execution: Execution) -> Key | None:
    """Return the key of an execution that may be answered from the cache, and note it there."""
    if execution.key is None and wants_cache(execution):
        execution.key = key_of(execution)
    return execution.key


def wants_cache(execution: Execution) -> bool:
    """Whether the execution may be answered from the cache: neither dry nor debug runs."""
    return execution.use_cache and execution.mode is ExecutionMode.NORMAL


def _own_fault(error: BaseException) -> bool:
    return isinstance(error, BridgeError) and error.kind in ("timeout", "cancelled", "limit_exceeded")


__all__ = ["Caching", "find_key", "wants_cache"]
