"""Where a store lies: a SQLite file under the state folder, or a database by URL."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from python_bridge.errors import BridgeError
from python_bridge.store.settings import StoreSettings


def default_path(instance: str) -> Path:
    """Return ``$XDG_STATE_HOME/dspex/<instance>.db`` (``~/.local/state`` when the variable is not set).

    Raises:
        BridgeError: `invalid_request` when the name would leave the folder.
    """
    if not instance or instance in {".", ".."} or "/" in instance or "\0" in instance:
        raise BridgeError("invalid_request", f"{instance!r} can't name a store: use a plain file name without a slash")
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "dspex" / f"{instance}.db"


def resolve_url(settings: StoreSettings) -> sa.URL:
    """Return the database's URL with its driver.

    Raises:
        BridgeError: `invalid_request` for a URL that is no SQLite or PostgreSQL one.
    """
    if settings.url is None:
        return sa.URL.create("sqlite", database=str(default_path(settings.instance)))
    try:
        url = sa.make_url(settings.url)
    except ArgumentError:
        raise BridgeError(
            "invalid_request", "the store's URL can't be read; write postgresql://… or sqlite:///path"
        ) from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite")
    raise BridgeError(
        "invalid_request", f"a store of kind {backend!r} is not supported; use a SQLite file or PostgreSQL"
    )


def prepare_file(path: Path) -> None:
    """Make the SQLite file, readable by its owner alone, in a folder that is too.

    SQLite gives its `-wal` and `-shm` files the mode of the main file, so none of them is ever open to others.

    Raises:
        BridgeError: `unavailable` when the folder or the file can't be made or written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BridgeError(
            "unavailable",
            f"the store {path} can't be opened for writing ({error.strerror}); mend the folder's owner and mode, "
            "or set another one with the store's URL or XDG_STATE_HOME",
            retryable=False,
        ) from error
    try:
        if os.fstat(fd).st_mode & 0o077 and os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


@contextlib.contextmanager
def held_alone(path: Path) -> Generator[None]:
    """Keep other processes, and other threads, that come this way from opening or replacing a file for the block.

    It is a lock on ``<name>.opening`` beside the file, which the system gives back when its holder ends.

    Raises:
        BridgeError: `unavailable` when the file system has no locks.
    """
    beside = path.with_name(f"{path.name}.opening")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _without_locks(beside, error) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            raise _without_locks(beside, error) from error
        yield
    finally:
        os.close(fd)


def _without_locks(path: Path, error: OSError) -> BridgeError:
    text = f"{path} cannot be made and locked ({error.strerror}); set a folder on a local disk"
    return BridgeError("unavailable", text, retryable=False)


__all__ = ["default_path", "held_alone", "prepare_file", "resolve_url"]
