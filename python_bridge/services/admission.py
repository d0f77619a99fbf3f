"""How much work a worker takes on: a bounded number of calls that run, and a bounded queue before them."""

import asyncio
from collections import deque

from python_bridge.errors import BridgeError

_SMOOTHING = 0.1
_MIN_RETRY_S, _MAX_RETRY_S = 0.05, 5.0


class Admission:
    """Places for calls, given out in order of arrival.

    Args:
        max_in_flight: calls that run at the same time.
        max_queue: calls that wait; further ones are refused.
    """

    def __init__(self, max_in_flight: int, max_queue: int) -> None:
        self.max_in_flight = max_in_flight
        self.max_queue = max_queue
        self.running = 0
        self._mean_run_s = 0.1
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many calls wait for a place."""
        return len(self._waiting)

    def check(self, pending: int) -> None:
        """Refuse one more call when `pending` ones fill all places and the queue.

        Raises:
            BridgeError: `overloaded`, with an estimate of when a place will be free.
        """
        if pending < self.max_in_flight + self.max_queue:
            return
        wait = self._mean_run_s * (self.queued + 1) / self.max_in_flight
        text = f"the worker has {self.running} calls running and {self.queued} queued, which is all it takes"
        retry_after = round(min(max(wait, _MIN_RETRY_S), _MAX_RETRY_S), 3)
        raise BridgeError("overloaded", f"{text} (max_in_flight, max_queue)", retry_after=retry_after)

    async def enter(self) -> None:
        """Wait for a place and take it. A cancelled waiter takes none."""
        if self.running < self.max_in_flight and not self._waiting:
            self.running += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was handed over in the same turn of the loop
                self._hand_over()
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def leave(self, run_s: float) -> None:
        """Give a place back after `run_s` seconds of work."""
        self._mean_run_s += _SMOOTHING * (run_s - self._mean_run_s)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1


__all__ = ["Admission"]
