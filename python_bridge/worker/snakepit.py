"""`python-bridge snakepit-worker`: what Snakepit starts, watches and kills.

Two processes: this one owns the gRPC side and never runs a program, so that heartbeats are answered whatever
programs do; behind it is a worker process, on a Unix socket that `bridge.endpoint` tells of.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_bridge.settings import LOG_LEVELS, Settings, SettingsError
from python_bridge.worker.backend import Backend

EXIT_ORPHAN = 1
EXIT_BACKEND = 70
_DRAIN_MS = 4_000
"""SIGKILL follows SIGTERM by 6 s."""
_STOP_S = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says beside the settings of a worker."""

    port: int = 0
    elixir_address: str | None = None
    run_id: str = ""
    instance: str = ""
    programs: Path | None = None


def read_options(arguments: Sequence[str]) -> Options:
    """Return what is known of these arguments; whatever else a newer Snakepit gives is passed over.

    Raises:
        SettingsError: the port is none.
    """
    given: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        if flag.startswith("--"):
            given[flag] = value if equals else following
    port = given.get("--port", "0")
    if not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--port {port!r} is no port")
    programs = given.get("--programs-folder")
    return Options(
        int(port),
        given.get("--elixir-address"),
        given.get("--snakepit-run-id", ""),
        given.get("--snakepit-instance-name", ""),
        Path(programs) if programs else None,
    )


def load_programs(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Return the programs of a folder: each file ``<name>.json`` is one.

    Raises:
        SettingsError: the folder or a file cannot be read.
    """
    if folder is None:
        return {}
    found: dict[str, dict[str, Any]] = {}
    path = folder
    try:
        for path in sorted(folder.iterdir()):
            if path.suffix == ".json":
                found[path.stem] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"--programs-folder {path}: {error}") from None
    for name, program in found.items():
        if (problem := _problem_of(program)) is not None:
            raise SettingsError(f"--programs-folder {folder}: {name}.json {problem}")
    return found


def _problem_of(program: Any) -> str | None:
    """Return what hinders a program from being a tool; the rest is found when it is run."""
    if not isinstance(program, dict):
        return "holds no program (a map)"
    signature = program.get("signature")
    listed = signature.get("fields") if isinstance(signature, dict) else None
    if isinstance(listed, list):
        for field in listed:
            if not (isinstance(field, dict) and isinstance(field.get("name"), str)):
                return "has a field in its signature that is no map with a name"
    try:
        json.dumps(program, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "has a text with lone surrogates, which are no UTF-8"
    return None


def write_ready_file(path: str, port: int) -> None:
    """Tell the port; readers find the whole text or no file.

    Raises:
        SettingsError: the file cannot be written.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.write_text(str(port), "ascii")
        part.replace(target)
    except OSError as error:
        raise SettingsError(f"SNAKEPIT_READY_FILE: {path} cannot be written: {error.strerror}") from None


def run_snakepit_worker(settings: Settings, options: Options, arguments: list[str]) -> int:
    """Run until Snakepit or the worker process ends it; return the exit status: 0 after SIGTERM, and never else.

    Args:
        arguments: flags for the worker process.

    Raises:
        SettingsError: the start failed.
    """
    status = asyncio.run(Front(settings, options, arguments).run())
    sys.stderr.flush()
    os._exit(status)


class Front:
    """The process that Snakepit sees."""

    def __init__(self, settings: Settings, options: Options, arguments: list[str]) -> None:
        self._settings = settings
        self._options = options
        self._arguments = arguments
        self._programs = load_programs(options.programs)

    async def run(self) -> int:
        """Serve until the end; return the exit status.

        Raises:
            SettingsError: the start failed.
        """
        from python_bridge.transports.grpc.snakepit.server import serve_snakepit

        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watch_signals()
        self._watch_stdin()
        backend = Backend(self._arguments, _environ(), lambda name, values: service.run_elixir_tool(name, values))
        local = {
            "bridge.endpoint": ("address and token of this worker's own multiplexed connection", backend.endpoint),
            "lm.list": ("the LMs that the worker knows by name", self._list_lms),
        }
        # Snakepit's instance is one name for all of its workers.
        name = f"{self._options.instance or 'worker'}-{os.getpid()}"
        served = await serve_snakepit(
            self._options.port, self._options.elixir_address, backend, self._programs, local, name
        )
        service = served.service
        running: asyncio.Future[int] | None = None
        try:
            if path := os.environ.get("SNAKEPIT_READY_FILE"):
                write_ready_file(path, served.port)
            running = asyncio.ensure_future(backend.run())
            running.add_done_callback(self._backend_ended)
            status = await self._ended
            if status == 0:
                await backend.drain(min(self._settings.drain_ms, _DRAIN_MS))
        finally:
            backend.kill()
            await served.stop(_STOP_S)
            if running is not None:  # it may be about to start a process, which must not stay
                await asyncio.wait({running}, timeout=_STOP_S)
        return status

    def _end(self, status: int) -> None:
        if not self._ended.done():
            self._ended.set_result(status)

    def _backend_ended(self, done: "asyncio.Future[int]") -> None:
        if not self._ended.done():
            self._end(_status_of(done))

    def _watch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._end, 0)

    def _watch_stdin(self) -> None:
        """End when standard input does: then the BEAM is gone."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            self._end(EXIT_ORPHAN)

        threading.Thread(target=_wait_for_end, args=(loop, orphaned), daemon=True).start()

    async def _list_lms(self) -> dict[str, Any]:
        default = self._settings.default_lm
        lms = [{"name": n, "model": lm.model, "default": n == default} for n, lm in self._settings.lms.items()]
        return {"lms": lms}


def _wait_for_end(loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            continue
    with contextlib.suppress(RuntimeError):  # the loop is closed already
        loop.call_soon_threadsafe(ended)


def _status_of(done: "asyncio.Future[int]") -> int:
    """Return how this process ends when the worker process has: never with 0, which would mean that it was told to."""
    if done.cancelled() or done.exception() is not None:
        return EXIT_BACKEND
    status = done.result()
    how = f"signal {-status}" if status < 0 else f"status {status}"
    sys.stderr.write(f"python-bridge: the worker process ended with {how}, so this one ends too\n")
    return status if status > 0 else EXIT_BACKEND


def _environ() -> dict[str, str]:
    """Return the variables that Snakepit's own ones stand for."""
    level = os.environ.get("SNAKEPIT_LOG_LEVEL", "").lower()
    wanted = {"none": "error"}.get(level, level)
    if wanted in LOG_LEVELS and "DSPEX_LOG_LEVEL" not in os.environ:
        return {"DSPEX_LOG_LEVEL": wanted}
    return {}


__all__ = ["Front", "Options", "load_programs", "read_options", "run_snakepit_worker", "write_ready_file"]
