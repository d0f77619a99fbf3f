"""Workers made by forking: each is born with dspy imported, on a socket that it alone listens on."""

import contextlib
import logging
import os
import random
import secrets
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.services.health import rss_bytes
from python_bridge.services.identity import Identity
from python_bridge.settings import Settings, SettingsError, apply_settings
from python_bridge.transports.sockets import bind_unix

_log = logging.getLogger(__name__)

_EXIT_DEFECT = 70
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Child:
    """A worker that was forked: its process, where it listens, and the memory from which on it is killed (0: none)."""

    pid: int
    worker_id: str
    socket: str
    memory_hard_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: one of `status` and `signal` is ``None``; `reason` is ``"memory"`` when that was why."""

    child: Child
    status: int | None
    signal: int | None
    reason: str | None = None


def child_settings(base: Settings, changes: Mapping[str, Any]) -> tuple[Settings, dict[str, str]]:
    """Return the settings of a child and the variables of its environment (`env`).

    Raises:
        BridgeError: `invalid_request` for settings that are unknown, wrong, or not a child's to have.
    """
    values = dict(changes)
    environ = values.pop("env", {})
    if not isinstance(environ, dict) or not all(isinstance(v, str) for pair in environ.items() for v in pair):
        raise BridgeError("invalid_request", "settings.env of fork must be a map from text to text")
    for name, value in environ.items():
        if not name or "=" in name or "\0" in name + value:
            text = f"{name[:80]!r} is no variable: names have no =, and neither names nor values a NUL"
            raise BridgeError("invalid_request", f"settings.env of fork: {text}")
    if own := {"listen", "token", "engine", "worker_id"}.intersection(values):
        raise BridgeError("invalid_request", f"settings of fork may not have {', '.join(sorted(own))}")
    try:
        return apply_settings(base, values, "settings of fork"), environ
    except SettingsError as error:
        raise BridgeError("invalid_request", str(error)) from None


class Nursery:
    """The children of a fork server.

    Args:
        folder: where sockets lie; mode 0700, of this process alone.
        run: the life of a child in its own process; does not return.
    """

    def __init__(self, folder: Path, run: Callable[[Settings, socket.socket], object]) -> None:
        self.children: dict[int, Child] = {}
        self._folder = folder
        self._run = run
        self._too_large: set[int] = set()

    def fork(self, settings: Settings, environ: dict[str, str], close_fds: list[int]) -> tuple[Child, str]:
        """Make a worker; return it with the token that its clients need.

        The socket listens before the process is there, so that a client can connect at once.

        Args:
            close_fds: what belongs to the fork server alone.

        Raises:
            BridgeError: `unavailable` when the system makes no process, or no socket for it.
        """
        worker_id, token = Identity().worker_id, secrets.token_urlsafe(24)
        path = str(self._folder / f"{worker_id}.sock")
        try:
            listener = bind_unix(path)
        except OSError as error:
            text = f"no socket can be made in {self._folder}: {error.strerror or error}; set TMPDIR to another folder"
            raise BridgeError("unavailable", text) from None
        # The limit is held from here: a child that allocates and heeds nothing does not hold it itself.
        chosen = replace(settings, listen=f"unix:{path}", token=token, worker_id=worker_id, memory_hard_bytes=0)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        try:
            pid = os.fork()
        except OSError as error:
            listener.close()
            os.unlink(path)
            raise BridgeError("unavailable", f"no process can be forked: {error.strerror}") from None
        if pid == 0:
            self._live(chosen, environ, listener, close_fds)
        listener.close()
        child = self.children[pid] = Child(pid, worker_id, path, settings.memory_hard_bytes)
        return child, token

    def _live(self, settings: Settings, environ: dict[str, str], listener: socket.socket, close_fds: list[int]) -> None:
        """Be the child. Never returns: the stack below belongs to the fork server."""
        try:
            self._be_born(close_fds, environ)
            self._run(settings, listener)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(_EXIT_DEFECT)

    def _be_born(self, close_fds: list[int], environ: dict[str, str]) -> None:
        """Part from the fork server: no signal handlers, descriptors or random state in common."""
        signal.set_wakeup_fd(-1)
        for signum in _SIGNALS:
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for fd in close_fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        os.environ.update(environ)
        random.seed()
        # Not by way of numpy: its attribute would import what nobody has, and that takes longer than the fork.
        if (numpy_random := sys.modules.get("numpy.random")) is not None:
            numpy_random.seed()

    def reap(self) -> list[Exit]:
        """Return the children that have ended since the last time."""
        exits: list[Exit] = []
        for child in list(self.children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            del self.children[child.pid]
            with contextlib.suppress(OSError):
                os.unlink(child.socket)
            code = os.waitstatus_to_exitcode(status)
            reason = "memory" if child.pid in self._too_large else None
            self._too_large.discard(child.pid)
            exits.append(Exit(child, code if code >= 0 else None, -code if code < 0 else None, reason))
        return exits

    @property
    def has_limits(self) -> bool:
        """Whether there is a child whose memory is to be looked at."""
        return any(child.memory_hard_bytes for child in self.children.values())

    def kill_too_large(self) -> None:
        """Kill the children whose resident memory has reached their hard limit."""
        for child in self.children.values():
            if 0 < child.memory_hard_bytes <= (found := rss_bytes(child.pid)) and child.pid not in self._too_large:
                text = "worker %s is killed: %d bytes of memory are above its hard limit of %d (memory_hard_bytes)"
                _log.error(text, child.worker_id, found, child.memory_hard_bytes)
                self._too_large.add(child.pid)
                self.signal(child.pid, signal.SIGKILL)

    def signal(self, pid: int, signum: int) -> None:
        """Send a signal to a child.

        Raises:
            BridgeError: `not_found` when it is none.
        """
        if pid not in self.children:
            raise BridgeError("not_found", f"{pid} is no child of this fork server; see children")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)

    def signal_all(self, signum: int) -> None:
        """Send a signal to all children."""
        for pid in self.children:
            self.signal(pid, signum)


__all__ = ["Child", "Exit", "Nursery", "child_settings"]
