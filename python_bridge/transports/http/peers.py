"""The other processes behind the port: what each of them is asked, and tells."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from python_bridge.transports.http.shared import Shared

logger = logging.getLogger("python_bridge.http")

_LINE = 16 * 1024 * 1024
_PATIENCE_S = 1.0

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Peers:
    """Processes that ask one another over sockets in a folder of their own.

    Args:
        shared: what they share; ``None`` where there is one process only.
        slot: which of the processes this one is.
    """

    def __init__(self, shared: Shared | None = None, slot: int = 0) -> None:
        self.slots = shared.slots if shared is not None else 1
        self.slot = slot
        self._shared = shared
        self._server: asyncio.Server | None = None
        self._answer: Answer | None = None

    async def start(self, answer: Answer) -> None:
        """Answer the others from now on."""
        self._answer = answer
        if self._shared is not None:
            path = self._shared.folder / str(self.slot)
            path.unlink(missing_ok=True)  # of the process that was in this slot before
            self._server = await asyncio.start_unix_server(self._serve, path, limit=_LINE)

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def ask(self, question: dict[str, Any], patience: float = _PATIENCE_S) -> tuple[list[dict[str, Any]], int]:
        """Return what the others answered, and how many live that did not answer in time.

        Args:
            patience: seconds.
        """
        if self._shared is None:
            return [], 0
        folder, board = self._shared.folder, self._shared.board
        others = [slot for slot in range(self.slots) if slot != self.slot]
        found = await asyncio.gather(*(_ask(folder / str(slot), question, patience) for slot in others))
        silent = [slot for slot, told in zip(others, found, strict=True) if told is None and board.serves(slot)]
        return [told for told in found if told is not None], len(silent)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            question = orjson.loads(await reader.readline())
            writer.write(orjson.dumps(await self._told(question), default=str) + b"\n")
            await writer.drain()
        writer.close()

    async def _told(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._answer(question) if self._answer is not None else {}
        except Exception as error:
            logger.exception("a question of another process could not be answered")
            return {"error": str(error)}


async def _ask(path: Path, question: dict[str, Any], patience: float) -> dict[str, Any] | None:
    """Return the answer; ``None`` where no process is, or one does not answer in time."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE)
            try:
                writer.write(orjson.dumps(question) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
            return orjson.loads(line) if line else None
    except (OSError, ValueError):  # a time-out is an OSError
        return None


__all__ = ["Peers"]
