"""`python-bridge doctor`: looks whether this machine can run workers, and says what to do where it cannot."""

import asyncio
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from python_bridge.errors import BridgeError
from python_bridge.services.identity import installed_version
from python_bridge.settings import EmbedderSettings, LmSettings, Settings
from python_bridge.store.location import resolve_url
from python_bridge.store.settings import StoreSettings

_LEAST_PYTHON = (3, 11)
_LEAST_DSPY = (3, 2)
_LEAST_FILES = 1024
_MIB = 1 << 20
_LEAST_DISK = 512 * _MIB
_SHM = "/dev/shm"  # noqa: S108 - nothing is written there
_LEAST_SHM = 64 * _MIB
_LM_TIMEOUT_S = 3.0

OK, WARNING, FAILURE = "ok", "warning", "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """What one look found.

    Attributes:
        status: ``"ok"``, ``"warning"`` (workers run, and lack something) or ``"failure"``.
        found: what there is.
        fix: what to do; empty when all is well.
    """

    name: str
    status: str
    found: str
    fix: str = ""

    def to_map(self) -> dict[str, str]:
        """Return the check as plain data."""
        return asdict(self)


def examine(settings: Settings) -> list[Check]:
    """Look at everything; nothing here raises, and nothing is left behind."""
    looks: list[Callable[[], Check | Iterator[Check]]] = [
        _python,
        _dspy,
        *(lambda name=name, use=use: _library(name, use) for name, use in _LIBRARIES.items()),
        *(lambda name=name, use=use: _program(name, use) for name, use in _PROGRAMS.items()),
        lambda: _store(settings),
        _disk,
        _shared_memory,
        _open_files,
        lambda: _lms(settings),
    ]
    checks: list[Check] = []
    for look in looks:
        found = look()
        checks += [found] if isinstance(found, Check) else list(found)
    return checks


_LIBRARIES = {
    "uvloop": ("the event loop of workers", "pip install uvloop", WARNING),
    "orjson": ("JSON on the wire", "pip install orjson", FAILURE),
    "msgpack": ("MessagePack on the wire", "pip install msgpack", FAILURE),
    "pyarrow": ("Arrow tables", "pip install 'python-bridge[arrow]'", WARNING),
}
_PROGRAMS = {
    "deno": ("programs that run Python in a sandbox (ProgramOfThought, CodeAct)", "install Deno and put it on PATH"),
    "elixir": ("the Elixir client", "apt install elixir, or use workers from Python alone"),
}


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < _LEAST_PYTHON:
        return Check("python", FAILURE, version, "run it with Python 3.11 or newer")
    return Check("python", OK, f"{version} at {sys.executable}")


def _dspy() -> Check:
    version = installed_version("dspy")
    if version is None:
        return Check("dspy", FAILURE, "not installed", "pip install 'dspy>=3.2.1,<4'")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _LEAST_DSPY:
        return Check("dspy", FAILURE, f"{version} is too old", "pip install 'dspy>=3.2.1,<4'")
    return Check("dspy", OK, version)


def _library(name: str, use: tuple[str, str, str]) -> Check:
    purpose, fix, missing = use
    version = installed_version(name)
    return Check(name, OK, version) if version else Check(name, missing, f"not installed; needed for {purpose}", fix)


def _program(name: str, use: tuple[str, str]) -> Check:
    path = shutil.which(name)
    return Check(name, OK, path) if path else Check(name, WARNING, f"not on PATH; needed for {use[0]}", use[1])


def _store(settings: Settings) -> Check:
    url = settings.store
    if url is not None and not url.startswith("sqlite"):
        return _reach("store", url, FAILURE, "start the database, or correct `store`")
    try:
        path = store_path(settings)
    except BridgeError as error:
        return Check("store", FAILURE, error.message, "correct `store`, or leave it out")
    folder = next(parent for parent in (path.parent, *path.parents) if parent.exists())
    writable = os.access(path, os.R_OK | os.W_OK) if path.exists() else os.access(folder, os.W_OK | os.X_OK)
    if writable and folder.is_dir():
        return Check("store", OK, str(path))
    return Check("store", FAILURE, f"{path} cannot be written", f"make {folder} writable, or set `store`")


def store_path(settings: Settings) -> Path:
    """Return the file of the sessions of these settings.

    Raises:
        BridgeError: `invalid_request` for a URL that is none.
    """
    return Path(resolve_url(StoreSettings(url=settings.store, instance=settings.instance)).database or "")


def _disk() -> Check:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home())
    folder = next(parent for parent in (state, *state.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free // _MIB} MiB free at {folder}"
    if free < _LEAST_DISK:
        return Check("disk", FAILURE, text, f"free at least {_LEAST_DISK // _MIB} MiB, or point `store` elsewhere")
    return Check("disk", OK, text)


def _shared_memory() -> Check:
    try:
        free = shutil.disk_usage(_SHM).free
    except OSError:
        return Check(_SHM, WARNING, "not there", "mount a tmpfs at /dev/shm; in Docker: --shm-size=256m")
    if free < _LEAST_SHM:
        fix = "give it more; in Docker: --shm-size=256m"
        return Check(_SHM, WARNING, f"{free // _MIB} MiB free", fix)
    return Check(_SHM, OK, f"{free // _MIB} MiB free")


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        fix = f"run `ulimit -n {_LEAST_FILES}` first (the most here is {hard})"
        return Check("open files", WARNING, f"at most {soft}", fix)
    return Check("open files", OK, f"at most {soft}")


def _lms(settings: Settings) -> Iterator[Check]:
    if settings.default_lm not in settings.lms:
        fix = "set DSPEX_LM, or add a table [lms.default] to the TOML file; offline/extractive needs no entry"
        yield Check(f"lm {settings.default_lm}", WARNING, "not in the settings", fix)
    named = [(f"lm {name}", lm) for name, lm in settings.lms.items()]
    for name, lm in [*named, *((f"embedder {name}", item) for name, item in settings.embedders.items())]:
        if lm.api_key_env is not None and not os.environ.get(lm.api_key_env):
            text = f"{lm.model}: the variable {lm.api_key_env} is not set"
            yield Check(name, FAILURE, text, f"export {lm.api_key_env} where the worker starts")
        elif _keyless(lm):
            fix = 'export OPENAI_API_KEY where the worker starts; in its table: api_key_env = "OPENAI_API_KEY"'
            yield Check(name, WARNING, f"{lm.model}: there is no key for it", fix)
        elif lm.api_base is not None:
            yield _reach(name, lm.api_base, WARNING, "start the server, or correct `api_base`")
        else:
            yield Check(name, OK, lm.model)


def _keyless(lm: LmSettings | EmbedderSettings) -> bool:
    """Whether OpenAI itself would be asked without a key; servers of one's own may need none."""
    if not lm.model.startswith("openai/") or lm.api_base is not None or lm.api_key_env is not None:
        return False
    return isinstance(lm, EmbedderSettings) or not os.environ.get("OPENAI_API_KEY")


def _reach(name: str, url: str, missing: str, fix: str) -> Check:
    """Look whether something listens at the host and port of a URL; nothing is sent there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme, 5432)
    except ValueError:
        return Check(name, FAILURE, "its URL cannot be read", fix)
    if not host:
        return Check(name, FAILURE, "its URL names no host", fix)
    try:
        asyncio.run(_connect(host, port))
    except (OSError, TimeoutError) as error:
        return Check(name, missing, f"{host}:{port} does not answer ({error or 'no answer in time'})", fix)
    return Check(name, OK, f"{host}:{port} answers")


async def _connect(host: str, port: int) -> None:
    async with asyncio.timeout(_LM_TIMEOUT_S):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


__all__ = ["FAILURE", "OK", "WARNING", "Check", "examine", "store_path"]
