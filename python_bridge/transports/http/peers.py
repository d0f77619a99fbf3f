"""The other processes behind the port: what each of them is asked, and tells."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

_LINE = 16 * 1024 * 1024
_PATIENCE_S = 1.0

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Peers:
    """Processes that ask one another over sockets in a folder of their own.

    Args:
        folder: where the sockets lie, for their owner alone; ``None`` where there is one process only.
        slot: which of the processes this one is.
        slots: how many there are.
    """

    def __init__(self, folder: Path | None = None, slot: int = 0, slots: int = 1) -> None:
        self.slots = slots
        self.slot = slot
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._answer: Answer | None = None

    async def start(self, answer: Answer) -> None:
        """Answer the others from now on."""
        self._answer = answer
        if self._folder is not None:
            path = self._folder / str(self.slot)
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
        if self._folder is None:
            return [], 0
        others = [self._folder / str(slot) for slot in range(self.slots) if slot != self.slot]
        found = await asyncio.gather(*(_ask(path, question, patience) for path in others))
        return [answer for answer in found if isinstance(answer, dict)], found.count(False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            question = orjson.loads(await reader.readline())
            if self._answer is not None:
                writer.write(orjson.dumps(await self._answer(question), default=str) + b"\n")
                await writer.drain()
        writer.close()


async def _ask(path: Path, question: dict[str, Any], patience: float) -> dict[str, Any] | bool | None:
    """Return the answer; ``None`` where no process is, ``False`` where one does not answer."""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_unix_connection(path, limit=_LINE)
            try:
                writer.write(orjson.dumps(question) + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
            return orjson.loads(line) if line else None
    except TimeoutError:
        return False
    except OSError:
        return None


__all__ = ["Peers"]
