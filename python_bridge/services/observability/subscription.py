"""What one client hears of its worker: a bounded queue of notifications, sent when the client reads."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from python_bridge.errors import BridgeError
from python_bridge.protocol.connection import State

MAX_QUEUED = 1024
"""Events that wait for a client that does not read; further ones are counted and dropped."""

EVENTS: dict[str, str] = {
    "call.start": "a request got its place: `queue_ms`",
    "call.stop": "it was answered: `duration_ms`, `queue_ms`, and of predictions `lm_calls`, tokens, `cost`",
    "call.exception": "it failed: `duration_ms`, `queue_ms`, what it had spent by then; metadata `kind`",
    "lm.stop": "an LM answered: `duration_ms`, tokens; metadata `model`, `attempt`",
    "lm.exception": "an LM failed: `duration_ms`; metadata `model`, `attempt`, `error`",
    "tool.start": "the client is asked to run a tool; metadata `tool`, `call_id`",
    "tool.stop": "it gave a value: `duration_ms`",
    "tool.exception": "it failed: `duration_ms`; metadata `kind`",
    "cache.hit": "a prediction came from the worker's cache",
    "cache.miss": "it was looked for there and not found",
    "worker.queue": "load, at each look of the monitor: `running`, `queued`, `abandoned`",
    "worker.memory": "memory, at each look: `rss_bytes`, `soft_limit_bytes` (0: none)",
    "worker.loop": "delay of the event loop, at each look: `lag_ms`",
    "telemetry.dropped": "events that were lost because the client did not read: `count`",
}
"""Every event, with its measurements. Those of a request have `request_id`, `method`, `session` and `trace_id`."""


class Listener(Protocol):
    """The connection that a subscription belongs to, as `Conversation` is."""

    @property
    def connection(self) -> Any: ...

    @property
    def outlet(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asked for.

    Attributes:
        sample: share of requests whose events are sent, all of one request or none; 0 to 1.
        events: names, or their first words (``"call"``).
    """

    sample: float
    events: tuple[str, ...]

    def takes(self, name: str) -> bool:
        """Whether events of this name are sent."""
        return any(name == wanted or name.startswith(wanted + ".") for wanted in self.events)

    def takes_request(self, serial: int) -> bool:
        """Whether the request with this number is in the sample. The same number always gives the same answer."""
        # Fibonacci hashing: neighbours fall far apart, and any run of requests holds its share.
        return (serial * 2654435769 & 0xFFFFFFFF) < self.sample * 0x1_0000_0000


class Subscription:
    """Sends notifications to one client, in order, as fast as it reads."""

    def __init__(self, listener: Listener, wanted: Wanted) -> None:
        self.wanted = wanted
        self.dropped = 0
        self._names = frozenset(name for name in EVENTS if wanted.takes(name))
        self._listener = listener
        self._queue: deque[tuple[str, dict[str, Any]]] = deque()
        self._lost = 0
        self._sending = False
        self._waiter: asyncio.Task[None] | None = None

    def put(self, name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Queue a `telemetry/event`, unless the client does not want this one."""
        if name in self._names:
            event = {"name": name, "measurements": measurements, "metadata": metadata, "time": time.time()}
            self.notify("telemetry/event", event)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Queue a notification; when the queue is full it is dropped and counted."""
        if len(self._queue) >= MAX_QUEUED:
            self.dropped += 1
            self._lost += 1
            return
        self._queue.append((method, params))
        if not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send)

    def close(self) -> None:
        """Send nothing more."""
        self._queue.clear()
        if self._waiter is not None:
            self._waiter.cancel()

    def _send(self) -> None:
        self._sending = False
        if self._listener.connection.state is State.CLOSED:
            self._queue.clear()
        elif not self._listener.outlet.is_writable():
            self._sending = True
            self._waiter = asyncio.get_running_loop().create_task(self._send_later())
        elif self._queue:
            self._send_all()

    async def _send_later(self) -> None:
        await self._listener.outlet.writable()
        self._send()

    def _send_all(self) -> None:
        while self._queue:
            method, params = self._queue.popleft()
            try:
                self._listener.connection.notify(method, params)
            except BridgeError:  # it holds what cannot be sent: too large for this client
                self.dropped += 1
                self._lost += 1
        lost, self._lost = self._lost, 0
        if lost and "telemetry.dropped" in self._names:
            params = {"name": "telemetry.dropped", "measurements": {"count": lost}, "metadata": {}, "time": time.time()}
            self._listener.connection.notify("telemetry/event", params)
        self._listener.outlet.flush()


__all__ = ["EVENTS", "MAX_QUEUED", "Listener", "Subscription", "Wanted"]
