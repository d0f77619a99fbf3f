"""`python-bridge fork-server`: imports dspy once and forks workers that have it.

It has no event loop and no thread, for neither outlives a fork: one `select` over its input, its output and a pipe
for signals. `proto/PROTOCOL.md`, section 10, is what it speaks.
"""

import contextlib
import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol.connection import Closed, State
from python_bridge.protocol.messages import Request
from python_bridge.protocol.operations import ForkParams, InitializeParams, KillParams, Nothing, ShutdownParams
from python_bridge.protocol.params import read_params
from python_bridge.protocol.server import ServerConnection
from python_bridge.services.faults import to_bridge_error
from python_bridge.services.identity import Identity
from python_bridge.services.observability.logs import configure_logging
from python_bridge.services.observability.redaction import Redactor, secrets_of
from python_bridge.settings import Settings
from python_bridge.transports.stdio import Wire, claim_stdio
from python_bridge.wire.values import Limits
from python_bridge.worker.boot import EXIT_NO_ENGINE
from python_bridge.worker.children import Exit, Nursery, child_settings
from python_bridge.worker.folder import SocketFolder, remove_stale
from python_bridge.worker.parent import die_with_parent

_READ_BYTES = 65_536
_GRACE_S = 0.5
_KILL_SIGNALS = {"TERM": signal.SIGTERM, "KILL": signal.SIGKILL}


class ForkServer:
    """One fork server: a connection on `wire`, and the workers that were made for it.

    Args:
        preload: makes this process what its children shall be: imports, warm-up. Raises `BridgeError`.
        run: the life of a child.
    """

    def __init__(
        self,
        settings: Settings,
        wire: Wire,
        preload: Callable[[Settings], None],
        run: Callable[[Settings, socket.socket], object],
    ) -> None:
        limits = Limits(settings.max_depth, settings.max_items, settings.attachment_bytes)
        self._settings = settings
        self._wire = wire
        self._preload = preload
        self._identity = Identity()
        self._connection = ServerConnection(limits, settings.max_frame_bytes)
        self._folder = SocketFolder()
        self._nursery = Nursery(self._folder.path, run)
        self._selector = selectors.DefaultSelector()
        self._unsent = b""
        self._stopping = False
        self._handlers: dict[str, tuple[type[Any], Callable[[Any], dict[str, Any]]]] = {
            "ping": (Nothing, lambda params: {}),
            "shutdown": (ShutdownParams, self._shutdown),
            "fork": (ForkParams, self._fork),
            "kill": (KillParams, self._kill),
            "children": (Nothing, self._children),
        }

    def run(self) -> int:
        """Serve until the input ends; return the exit status. No child outlives this."""
        self._watch()
        try:
            while not self._stopping and self._connection.state is State.OPENED:
                self._turn()
            if not self._stopping and not self._load():
                return EXIT_NO_ENGINE
            while not self._stopping:
                self._turn()
            return 0
        finally:
            self._end_children()
            self._flush()
            self._folder.remove()

    # -- input, output, signals -------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Let the selector wake up for input and for signals."""
        self._signals, wakeup = os.pipe()
        for fd in (self._signals, wakeup, self._wire.read_fd, self._wire.write_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(signum, _noted)
        self._private_fds = [self._signals, wakeup, self._wire.read_fd, self._wire.write_fd, self._selector.fileno()]
        self._selector.register(self._wire.read_fd, selectors.EVENT_READ, self._read)
        self._selector.register(self._signals, selectors.EVENT_READ, self._read_signals)

    def _turn(self) -> None:
        looks = self._nursery.has_limits
        for key, _ in self._selector.select(self._settings.monitor_ms / 1000 if looks else None):
            key.data()
        if looks:
            self._nursery.kill_too_large()
        self._flush()

    def _read(self) -> None:
        data = os.read(self._wire.read_fd, _READ_BYTES)
        if not data:
            self._stopping = True
        for event in self._connection.receive(data):
            if isinstance(event, Request):
                self._handle(event)
            elif isinstance(event, Closed):
                self._stopping = True

    def _read_signals(self) -> None:
        for signum in os.read(self._signals, _READ_BYTES):
            if signum != signal.SIGCHLD:
                self._stopping = True
        for ended in self._nursery.reap():
            self._tell(ended)

    def _flush(self) -> None:
        """Write what the pipe takes, and have the selector tell when it takes more."""
        self._unsent += self._connection.take_output()
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._unsent:
                self._unsent = self._unsent[os.write(self._wire.write_fd, self._unsent) :]
        waiting = self._wire.write_fd in self._selector.get_map()
        if self._unsent and not waiting:
            self._selector.register(self._wire.write_fd, selectors.EVENT_WRITE, self._flush)
        elif waiting and not self._unsent:
            self._selector.unregister(self._wire.write_fd)

    # -- requests ---------------------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        connection = self._connection
        try:
            if request.method == "initialize":
                self._initialize(request)
                return
            params_type, handler = self._handlers.get(request.method, (None, None))
            if params_type is None or handler is None:
                known = ", ".join(self._methods())
                raise BridgeError("not_found", f"a fork server has no {request.method[:80]!r}; known are {known}")
            connection.respond(request.id, handler(read_params(params_type, request.params, request.method)))
        except Exception as exception:
            connection.fail(request.id, to_bridge_error(exception, request.method, debug=self._settings.debug))

    def _methods(self) -> list[str]:
        return sorted(["initialize", *self._handlers])

    def _initialize(self, request: Request) -> None:
        connection = self._connection
        try:
            version = connection.accept(request, read_params(InitializeParams, request.params, request.method))
        except BridgeError as error:
            if error.kind == "invalid_request":
                connection.retry(request.id, error)
            else:
                connection.refuse(request.id, error)
                self._stopping = True
            return
        hello = self._identity.hello(version, self._settings, self._methods(), ["fork"])
        connection.respond(request.id, hello)

    def _fork(self, params: ForkParams) -> dict[str, Any]:
        settings, environ = child_settings(self._settings, params.settings or {})
        child, token = self._nursery.fork(settings, environ, self._private_fds)
        return {"worker_id": child.worker_id, "pid": child.pid, "socket": child.socket, "token": token}

    def _kill(self, params: KillParams) -> dict[str, Any]:
        signum = _KILL_SIGNALS.get(params.signal)
        if signum is None:
            raise BridgeError("invalid_request", f"signal of kill must be TERM or KILL, it is {params.signal!r}")
        self._nursery.signal(params.pid, signum)
        return {}

    def _children(self, params: Nothing) -> dict[str, Any]:
        children = self._nursery.children.values()
        return {"children": [{"pid": c.pid, "worker_id": c.worker_id, "socket": c.socket} for c in children]}

    def _shutdown(self, params: ShutdownParams) -> dict[str, Any]:
        self._stopping = True
        return {}

    # -- life -------------------------------------------------------------------------------------------------

    def _load(self) -> bool:
        """Become what the children shall be; return whether that went well."""
        started = time.perf_counter()
        self._flush()
        try:
            self._preload(self._settings)
        except Exception as exception:
            self._connection.failed(to_bridge_error(exception, "loading the engine"))
            return False
        remove_stale()  # now that the children of one that was killed have had time to end
        # What lives now lives for ever: the collector of a child need not touch it, and so not copy its pages.
        gc.collect()
        gc.freeze()
        boot_ms = round((time.perf_counter() - started) * 1000, 3)
        version = self._identity.hello(1, self._settings, [], [])["dspy"]
        self._connection.ready({"dspy": version, "features": ["fork"], "boot_ms": boot_ms})
        self._flush()
        return True

    def _tell(self, ended: Exit) -> None:
        child = ended.child
        if self._connection.state in (State.INITIALIZED, State.READY):
            how = {"status": ended.status, "signal": ended.signal, "reason": ended.reason}
            self._connection.notify("child/exit", {"pid": child.pid, "worker_id": child.worker_id, **how})

    def _end_children(self) -> None:
        """TERM to all, `_GRACE_S` to end in, then KILL."""
        self._nursery.signal_all(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while self._nursery.children and time.monotonic() < deadline:
            self._reap_within(deadline)
        self._nursery.signal_all(signal.SIGKILL)
        while self._nursery.children:
            self._reap_within(time.monotonic() + _GRACE_S)

    def _reap_within(self, deadline: float) -> None:
        self._drain_signals()
        for ended in self._nursery.reap():
            self._tell(ended)
        if self._nursery.children:
            with selectors.DefaultSelector() as selector:
                selector.register(self._signals, selectors.EVENT_READ)
                selector.select(max(0.0, deadline - time.monotonic()))

    def _drain_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._signals, _READ_BYTES)


def _noted(signum: int, frame: object) -> None:
    """Nothing: the wake-up pipe carries the number to the selector."""


def run_fork_server(settings: Settings) -> int:
    """Run a fork server on standard input and output; return its exit status.

    0 after the end of its input, `shutdown` or SIGTERM; 78 when the engine cannot be loaded.
    """
    from python_bridge.worker.forked import preload, run_child

    wire = claim_stdio()
    die_with_parent()
    configure_logging(settings.log_level, settings.log_format, Redactor(secrets_of(settings)))
    return ForkServer(settings, wire, preload, run_child).run()


__all__ = ["ForkServer", "run_fork_server"]
