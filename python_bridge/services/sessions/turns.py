"""Who may work on a session now: one at a time, in the order of coming."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from python_bridge.errors import BridgeError

SessionKey = tuple[str, str]
"""Tenant and session id."""

_RETRY_AFTER_S = 0.05


class _Line:
    __slots__ = ("holder", "in_tools", "waiting")

    def __init__(self) -> None:
        self.holder: asyncio.Task[object] | None = None
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.in_tools = 0


class Turns:
    """Lines before sessions; a session without a caller takes no memory.

    Args:
        max_waiting: callers that may wait before one session.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._lines: dict[SessionKey, _Line] = {}

    @asynccontextmanager
    async def take(self, key: SessionKey, within: tuple[str, ...] | None = None) -> AsyncGenerator[None, None]:
        """Wait for the turn on a session and hold it for the block.

        Args:
            within: sessions whose calls wait for this one, as the caller tells; ``None`` when it does not tell.

        Raises:
            BridgeError: `conflict` for a call from inside a call on the same session, which would wait for itself;
                `overloaded` when too many wait already.
        """
        await self._enter(key, within)
        self._lines[key].holder = asyncio.current_task()
        try:
            yield
        finally:
            self._leave(key)

    @contextmanager
    def in_tool(self, key: SessionKey) -> Generator[None, None, None]:
        """Mark that the call that holds the session waits for a tool of its client."""
        line = self._lines[key]
        line.in_tools += 1
        try:
            yield
        finally:
            line.in_tools -= 1

    def __len__(self) -> int:
        return len(self._lines)

    async def _enter(self, key: SessionKey, within: tuple[str, ...] | None) -> None:
        if within is not None and key[1] in within:
            raise _nested(key[1], retryable=False)
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = _Line()
            return
        if line.holder is asyncio.current_task():
            raise _nested(key[1], retryable=False)
        if within is None and line.in_tools:
            # It may come from that very tool. A caller that is another one repeats it and loses nothing but its place.
            raise _nested(key[1], retryable=True)
        if len(line.waiting) >= self._max_waiting:
            text = f"{len(line.waiting)} calls wait for session {key[1]!r} already; send fewer at once"
            raise BridgeError("overloaded", text, retry_after=_RETRY_AFTER_S, details={"limit": "max_waiting"})
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(key)  # the turn had been given in the same moment
            raise

    def _leave(self, key: SessionKey) -> None:
        line = self._lines[key]
        while line.waiting:
            turn = line.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._lines[key]


def _nested(session: str, *, retryable: bool) -> BridgeError:
    text = (
        f"session {session!r} is in the middle of a call that waits for a tool; a tool can't call its own session: "
        "use another session, or none"
    )
    return BridgeError("conflict", text, retryable=retryable, retry_after=_RETRY_AFTER_S if retryable else None)


__all__ = ["SessionKey", "Turns"]
