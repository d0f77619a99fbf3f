"""The folder in which the sockets of a process's workers lie, and what dead ones left behind."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "dspex-fork-"
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class SocketFolder:
    """A new folder of mode 0700.

    It is locked as long as its process or one that this forked lives, for a fork shares the descriptor: the kernel
    knows better than any number in a file which folder has lost its last process.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with contextlib.suppress(FileNotFoundError):
                self._lock = os.open(self.path, _OPEN)
                if self._locked():
                    return
                os.close(self._lock)

    def _locked(self) -> bool:
        """Whether the lock came before another's `remove_stale`."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: nobody can take it for stale either
            return True
        return os.fstat(self._lock).st_nlink > 0

    def remove(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_stale() -> None:
    """Remove the folders of this user's processes that were killed, and whose forks are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    descriptor = os.open(folder, _OPEN)
    try:
        if os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


__all__ = ["SocketFolder", "remove_stale"]
