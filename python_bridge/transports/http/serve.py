"""`python-bridge serve`: one process, or several behind one port, watched by their parent."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from python_bridge.settings import Settings, SettingsError
from python_bridge.store.location import prepare_file
from python_bridge.transports.http.app import create_app, history_path, make_api
from python_bridge.transports.http.settings import HttpSettings

_GRACE_S = 10
_KILL_AFTER_S = 5
_PR_SET_PDEATHSIG = 1
_BACKLOG = 1024
_RESTART_PAUSE_S = 0.5


def serve(settings: HttpSettings, worker: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Raises:
        SettingsError: the address cannot be listened on.
        BridgeError: `unavailable` when the state folder cannot be written.
    """
    prepare_file(history_path(settings))  # told here: processes that are made later would only die of it
    listener = _bind(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"listening on http://{shown}:{port}\n")
    sys.stdout.flush()
    if settings.workers == 1:
        return _serve_one(settings, worker, listener)
    return Supervisor(settings, worker, listener).run()


def _bind(settings: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}") from None
    return listener


def _serve_one(settings: HttpSettings, worker: Settings, listener: socket.socket) -> int:
    app = create_app(make_api(settings, worker))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        lifespan="on",
    )
    server = uvicorn.Server(config)

    # uvicorn sets its own handlers once it runs, and raises the signal that ended it once more for these.
    def stop(_signum: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    server.run(sockets=[listener])
    return 0


def _end_with_parent() -> None:
    """Have the system end this process when its parent is killed: nobody would watch over it any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Keeps as many children as wanted; they share the listening socket, and import dspy once, before they are made."""

    def __init__(self, settings: HttpSettings, worker: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._worker = worker
        self._listener = listener
        self._children: dict[int, float] = {}
        self._stopping = False

    def run(self) -> int:
        """Start the children and watch over them until a signal ends it."""
        from python_bridge.engine.load import preload

        preload()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._stop)
        for _ in range(self._settings.workers):
            self._fork()
        while self._children:
            self._reap()
        return 0

    def _fork(self) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = time.monotonic()
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_DFL)
        _end_with_parent()
        status = 1
        try:
            status = _serve_one(self._settings, self._worker, self._listener)
        finally:
            os._exit(status)

    def _reap(self) -> None:
        try:
            pid, _status = os.wait()
        except InterruptedError:
            return
        except ChildProcessError:
            self._children.clear()
            return
        started = self._children.pop(pid, None)
        if started is None or self._stopping:
            return
        if time.monotonic() - started < _RESTART_PAUSE_S:
            time.sleep(_RESTART_PAUSE_S)  # one that dies at once must not be made again in a tight loop
        self._fork()

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._stopping = True
        signal.signal(signal.SIGALRM, self._kill)
        signal.alarm(_GRACE_S + _KILL_AFTER_S)
        self._send(signal.SIGTERM)

    def _kill(self, _signum: int, _frame: FrameType | None) -> None:
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)


__all__ = ["serve"]
