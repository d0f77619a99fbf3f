"""A worker process behind a front: started by it, reached over a Unix socket, ended with it."""

import asyncio
import contextlib
import io
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from python_bridge.errors import BridgeError
from python_bridge.worker.folder import SocketFolder, remove_stale

if TYPE_CHECKING:
    from python_bridge.transports.link import RunTool, WorkerLink

_ROOT = Path(__file__).resolve().parents[2]
_TELLS = b"listening on "
_CHUNK = 64 * 1024
_GRACE_S = 0.5


def _lines(output: io.FileIO) -> Iterator[bytes]:
    """Give what is read in lines, with their ends; one that is long comes in parts."""
    rest = b""
    while chunk := output.read(_CHUNK):
        *lines, rest = (rest + chunk).splitlines(keepends=True)
        yield from lines
        if rest.endswith(b"\n") or len(rest) > _CHUNK:
            yield rest
            rest = b""
    yield rest


def _print(data: bytes) -> None:
    # Whoever cannot write to a log goes on without it; the worker's output is read all the same.
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(2, view) :]


class Backend:
    """One worker process and the connection to it.

    Args:
        arguments: flags of `python-bridge worker`.
        environ: variables beside this process's own.
        run_tool: runs the tools that programs call.

    Attributes:
        link: done when the worker answers; waits for neither dspy nor the engine.
    """

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], run_tool: "RunTool") -> None:
        self.link: asyncio.Future[WorkerLink] = asyncio.get_running_loop().create_future()
        self.token = secrets.token_urlsafe(24)
        self._arguments = arguments
        self._environ = environ
        self._run_tool = run_tool
        self._folder = SocketFolder()
        self._killed = False
        self._process: asyncio.subprocess.Process | None = None
        self._connecting: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where the worker listens, as its setting `listen` has it."""
        return f"unix:{self._folder.path / 'worker.sock'}"

    async def run(self) -> int:
        """Start the process and stay with it; return its exit status."""
        asyncio.get_running_loop().run_in_executor(None, remove_stale)
        command = [sys.executable, "-m", "python_bridge", "worker", *self._arguments, "--listen", self.address]
        paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        environ = {**os.environ, **self._environ, "PYTHONPATH": paths, "DSPEX_TOKEN": self.token}
        read_end, write_end = os.pipe()
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=write_end, env=environ
            )
        finally:
            os.close(write_end)
            passed_on = self._relay(read_end)
        if self._killed:
            self.kill()
        status = await process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(passed_on, _GRACE_S)
        if self._connecting is not None:
            await self._connecting
        if not self.link.done():
            self.link.set_exception(BridgeError("worker_lost", f"the worker's process ended with status {status}"))
            self.link.exception()
        return status

    def _relay(self, source: int) -> "asyncio.Future[None]":
        """Pass on what the process prints; done at its end. In a thread: nothing waits for whoever reads the log."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def connect() -> None:
            self._connecting = loop.create_task(self._connect())

        def pass_on() -> None:
            told = False
            with contextlib.suppress(RuntimeError), os.fdopen(source, "rb", buffering=0) as output:
                for line in _lines(output):
                    if not told and line.startswith(_TELLS):
                        told = True
                        loop.call_soon_threadsafe(connect)
                    else:
                        _print(line)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(lambda: ended.done() or ended.set_result(None))

        threading.Thread(target=pass_on, name="worker-output", daemon=True).start()
        return ended

    async def _connect(self) -> None:
        from python_bridge.transports.link import WorkerLink  # the ready file does not wait for it

        loop = asyncio.get_running_loop()
        path = self.address.removeprefix("unix:")
        # A worker whose engine cannot be loaded may have ended since it said that it listens: its status tells why.
        with contextlib.suppress(OSError):
            _, link = await loop.create_unix_connection(lambda: WorkerLink(self._run_tool, self.token), path)
            self.link.set_result(link)

    async def wait_link(self) -> "WorkerLink":
        """Return the link, waiting for the process to listen.

        Raises:
            BridgeError: `worker_lost`.
        """
        return await asyncio.shield(self.link)

    async def endpoint(self) -> dict[str, Any]:
        """Return where others reach this worker without the front, and what they need for it."""
        hello = await asyncio.shield((await self.wait_link()).greeted)
        return {
            "address": self.address,
            "token": self.token,
            "protocol_versions": [1],
            "pid": self._process.pid if self._process else None,
            "worker_id": hello["worker_id"],
        }

    async def drain(self, grace_ms: int) -> None:
        """Let the worker finish what it has, at most for `grace_ms`, and wait for its end that long."""
        if not self.link.done() or self.link.exception() is not None:
            return
        link = self.link.result()
        with contextlib.suppress(BridgeError, TimeoutError):
            await asyncio.wait_for(link.ask("shutdown", {"grace_ms": grace_ms}, {}).answer, _GRACE_S)
            await asyncio.wait_for(asyncio.shield(link.closed), grace_ms / 1000 + _GRACE_S)

    def kill(self) -> None:
        """End the process now, or as soon as it is there. What it committed stays."""
        if not self._killed:
            self._folder.remove()
        self._killed = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


__all__ = ["Backend"]
