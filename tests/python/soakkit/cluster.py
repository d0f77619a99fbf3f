"""Workers behind two fork servers over one store: the first is left in peace, the second and its workers are not."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from links import ROOT, Process, TokenClient

from python_bridge.errors import BridgeError
from python_bridge.testing.client import BridgeClient, Tool

DISTURBANCES = ("KILL", "KILL", "TERM", "KILL", "STOP", "KILL", "KILL", "fork server")
"""What is done to the workers, in turns."""
_STOPPED_S = 0.05


@dataclass(frozen=True, slots=True)
class Member:
    """One living worker."""

    pid: int
    client: BridgeClient


class Nest:
    """One fork server."""

    def __init__(self, arguments: list[str], environ: dict[str, str], tools: dict[str, Tool]) -> None:
        self._arguments = arguments
        self._environ = environ
        self._tools = tools
        self.server: BridgeClient
        self.process: Process
        self.stderr = b""

    async def start(self) -> None:
        """Start it and wait until it can fork."""
        self.server = BridgeClient()
        command = [sys.executable, "-m", "python_bridge", "fork-server", *self._arguments]
        _, self.process = await asyncio.get_running_loop().subprocess_exec(
            lambda: Process(self.server), *command, cwd=ROOT, env=self._environ
        )
        await self.server.ready()

    async def fork(self) -> Member:
        """Return a new worker that takes calls."""
        child = await self.server.request("fork")
        loop = asyncio.get_running_loop()
        _, client = await loop.create_unix_connection(lambda: TokenClient(tools=self._tools), child["socket"])
        client.token = child["token"]
        await client.ready()
        return Member(child["pid"], client)

    async def kill(self) -> None:
        """End the fork server by SIGKILL."""
        self.process.signal(signal.SIGKILL)
        await self._reap()

    async def stop(self) -> int:
        """End it as a pool does, by closing its input; return its exit status."""
        self.server.close()
        return await self._reap()

    async def _reap(self) -> int:
        status = await self.process.exited
        self.stderr += self.process.stderr
        assert self.process.transport is not None
        self.process.transport.close()
        return status


class Slot:
    """A place of the cluster: the worker that is in it now, or the one that will be."""

    def __init__(self, nest: Nest) -> None:
        self.nest = nest
        self.present: asyncio.Task[Member]
        self.refill()

    def refill(self, after: asyncio.Task[None] | None = None) -> None:
        """Put a new worker in."""

        async def fork() -> Member:
            if after is not None:
                await after
            return await self.nest.fork()

        self.present = asyncio.create_task(fork())

    async def member(self) -> Member:
        """Return the worker, waiting for one that is being made."""
        return await asyncio.shield(self.present)


class Cluster:
    """All places; the first one is the steady one, which nobody disturbs.

    Args:
        arguments: of the fork servers.
    """

    def __init__(self, arguments: list[str], environ: dict[str, str], tools: dict[str, Tool], shaken: int) -> None:
        self._nests = [Nest(arguments, environ, tools) for _ in range(2)]
        self._shaken = shaken
        self._turn = 0
        self.slots: list[Slot] = []

    async def start(self) -> None:
        """Start everything."""
        await asyncio.gather(*(nest.start() for nest in self._nests))
        steady, other = self._nests
        self.slots = [Slot(steady), *(Slot(other) for _ in range(self._shaken))]
        await asyncio.gather(*(slot.member() for slot in self.slots))

    async def request(self, index: int, method: str, params: dict[str, Any] | None = None, **meta: Any) -> Any:
        """Send a request to the worker in one of the places (any number)."""
        member = await self.slots[index % len(self.slots)].member()
        return await member.client.request(method, params, **meta)

    async def disturb(self) -> str:
        """Do what is next to one of the workers; return its name."""
        turn, self._turn = self._turn, self._turn + 1
        kind = DISTURBANCES[turn % len(DISTURBANCES)]
        victims = self.slots[1:]
        if kind == "fork server":
            await self._lose_fork_server()
            return kind
        slot = victims[turn % len(victims)]
        if kind == "STOP":
            await self._stop_for_a_moment(slot)
        else:
            await self.end(slot, getattr(signal, f"SIG{kind}"))
        return kind

    async def end(self, slot: Slot, signum: int) -> None:
        """Send a signal that ends the worker in a place, which gets another one; wait until the first is gone."""
        member = await slot.member()
        slot.refill()
        with suppress(ProcessLookupError):
            os.kill(member.pid, signum)
        await member.client.closed

    async def _stop_for_a_moment(self, slot: Slot) -> None:
        member = await slot.member()
        with suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGSTOP)
            await asyncio.sleep(_STOPPED_S)
            os.kill(member.pid, signal.SIGCONT)

    async def _lose_fork_server(self) -> None:
        nest, victims = self._nests[1], self.slots[1:]
        members = [await slot.member() for slot in victims]

        async def again() -> None:
            await nest.kill()
            await nest.start()

        restart = asyncio.create_task(again())
        for slot in victims:
            slot.refill(restart)
        await restart
        await asyncio.gather(*(member.client.closed for member in members))

    async def steady_bytes(self) -> int:
        """Return the resident memory of the worker that nobody disturbs."""
        return int((await self.request(0, "worker/status"))["rss_bytes"])

    async def children(self) -> list[int]:
        """Return how many workers each fork server knows."""
        return [len((await nest.server.request("children"))["children"]) for nest in self._nests]

    async def stop(self) -> tuple[list[int], bytes]:
        """Drain the workers and end the fork servers; return the statuses of these, and what all wrote to stderr."""
        for slot in self.slots:
            with suppress(BridgeError):
                member = await slot.member()
                await member.client.request("shutdown")
                await member.client.closed
        statuses = [await nest.stop() for nest in self._nests]
        return statuses, b"".join(nest.stderr for nest in self._nests)


__all__ = ["DISTURBANCES", "Cluster", "Member", "Nest", "Slot"]
