"""`python-bridge serve`: one process, or several behind one port, watched by their parent."""

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Generator, Iterable
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings, SettingsError
from python_bridge.store.location import prepare_file
from python_bridge.tracking.make import bound_requests
from python_bridge.transports.http.accept import SharingServer
from python_bridge.transports.http.app import create_app, history_path, make_api
from python_bridge.transports.http.corked import corked
from python_bridge.transports.http.settings import HttpSettings
from python_bridge.transports.http.shared import Shared

_GRACE_S = 10
_KEEP_ALIVE_S = 75  # longer than clients keep one: who closes first must be the one that would ask next
_LAST_S = 1
_KILL_AFTER_S = 5
_PR_SET_PDEATHSIG = 1
_BACKLOG = 1024
_ENDING = (signal.SIGTERM, signal.SIGINT)
_RESTART_PAUSE_S = 0.5
_MAX_FAILURES = 5


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
    shared = Shared(settings.workers, settings.rate, settings.burst)
    try:
        return Supervisor(settings, worker, listener, shared).run()
    finally:
        shared.close()


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


def make_config(app: FastAPI) -> uvicorn.Config:
    """Return how the application is served."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_keep_alive=_KEEP_ALIVE_S,
        lifespan="on",
        ws="none",
    )
    config.load()
    config.http_protocol_class = corked(config.http_protocol_class)
    return config


def _serve_one(
    settings: HttpSettings, worker: Settings, listener: socket.socket, shared: Shared | None = None, slot: int = 0
) -> int:
    bound_requests()
    api = make_api(settings, worker, shared=shared, slot=slot)
    config = make_config(create_app(api))
    server = uvicorn.Server(config) if shared is None else SharingServer(config, shared.board, slot)

    def stop(sig: int, frame: FrameType | None) -> None:
        """The first signal lets what runs come to its end, a second one does not."""
        if shared is not None and sig == signal.SIGINT:
            return  # a terminal sends it to all processes; the parent tells this one
        server.force_exit = server.should_exit
        server.should_exit = True
        api.drain(_GRACE_S - _LAST_S)

    server.handle_exit = stop  # in the place of uvicorn's own, which ends streams at once
    for signum in _ENDING:
        signal.signal(signum, stop)
    server.run(sockets=[listener])
    return 1 if server.force_exit else 0


@contextlib.contextmanager
def _held(signals: Iterable[signal.Signals]) -> Generator[None, None, None]:
    """Let the signals wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def _end_with_parent() -> None:
    """Have the system end this process when its parent is killed: nobody would watch over it any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Keeps as many children as wanted; they share the listening socket, and import dspy once, before they are made."""

    def __init__(self, settings: HttpSettings, worker: Settings, listener: socket.socket, shared: Shared) -> None:
        self._settings = settings
        self._worker = worker
        self._listener = listener
        self._shared = shared
        self._children: dict[int, tuple[int, float]] = {}  # slot, and when it was made
        self._stopping = False
        self._failures = 0
        self._cut = False
        self._pid = os.getpid()

    def run(self) -> int:
        """Start the children and watch over them until a signal ends it; return the exit status.

        It is 1 when the children end again and again before they serve, and when one was not let finish its work.
        """
        from python_bridge.engine.load import preload

        preload()
        for signum in _ENDING:
            signal.signal(signum, self._stop)
        for slot in range(self._settings.workers):
            self._fork(slot)
        while self._children:
            self._reap()
        return 1 if self._cut or self._failures >= _MAX_FAILURES else 0

    def _fork(self, slot: int) -> None:
        with _held(_ENDING):  # one between the fork and the note of it would miss the child, or be sent on by it
            if self._stopping:
                return
            pid = os.fork()
            if pid:
                self._children[pid] = slot, time.monotonic()
                return
            for signum in _ENDING:
                signal.signal(signum, signal.SIG_DFL)
        self._be_child(slot)

    def _be_child(self, slot: int) -> NoReturn:
        _end_with_parent()
        status = 1
        try:
            status = _serve_one(self._settings, self._worker, self._listener, self._shared, slot)
        except (BridgeError, SettingsError) as error:
            sys.stderr.write(f"process {slot} behind the port cannot serve: {error}\n")
        except Exception:
            logging.getLogger("python_bridge.http").exception("process %s behind the port ended", slot)
        finally:
            sys.stderr.flush()
            if os.getppid() != self._pid:  # it was killed, and cannot
                self._shared.close()
            os._exit(status)

    def _reap(self) -> None:
        try:
            pid, status = os.wait()
        except InterruptedError:
            return
        except ChildProcessError:
            self._children.clear()
            return
        slot, started = self._children.pop(pid, (None, 0.0))
        if slot is None:
            return
        served = self._shared.board.serves(slot)
        self._shared.board.leave(slot)
        if self._stopping:
            # Nothing is cut off where the signal came before there was a handler for it.
            self._cut = self._cut or os.waitstatus_to_exitcode(status) not in (0, -signal.SIGTERM)
            return
        others = any(self._shared.board.serves(other) for other in range(self._shared.slots))
        self._failures = 0 if served or others else self._failures + 1
        if self._failures >= _MAX_FAILURES:
            sys.stderr.write("the processes behind the port end before they serve; the server ends\n")
            self._stop(signal.SIGTERM, None)
            return
        if time.monotonic() - started < _RESTART_PAUSE_S:
            time.sleep(_RESTART_PAUSE_S)  # one that dies at once must not be made again in a tight loop
        self._fork(slot)

    def _stop(self, _signum: int, _frame: FrameType | None) -> None:
        self._stopping = True
        self._listener.close()  # those who come now are refused, where they would wait for nobody
        signal.signal(signal.SIGALRM, self._kill)
        signal.alarm(_GRACE_S + _KILL_AFTER_S)
        self._send(signal.SIGTERM)

    def _kill(self, _signum: int, _frame: FrameType | None) -> None:
        self._send(signal.SIGKILL)

    def _send(self, signum: signal.Signals) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)


__all__ = ["make_config", "serve"]
