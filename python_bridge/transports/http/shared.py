"""What the processes behind one port share: made before they are, in memory that stays one for all of them."""

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO

_BUCKET = struct.Struct("16sdd")  # who, places left, when last seen
_BUCKETS = 8192
_NEAR = 8
_AWAY = 2**32 - 1
_PREFIX = "dspex-http-"
_NEW = "dspex-new-"
_ALIVE = "alive"


class Board:
    """Open connections of each process; each writes its own number alone.

    Args:
        slots: processes.
    """

    def __init__(self, slots: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, 4 * slots)).cast("I")
        for slot in range(slots):
            self._counts[slot] = _AWAY

    def begin(self, slot: int) -> None:
        """The process takes connections from now on."""
        self._counts[slot] = 0

    def leave(self, slot: int) -> None:
        """The process takes no connections any more."""
        self._counts[slot] = _AWAY

    def add(self, slot: int, change: int) -> None:
        """Count a connection that has come, or gone."""
        if self.serves(slot):
            self._counts[slot] = max(0, self._counts[slot] + change)

    def serves(self, slot: int) -> bool:
        """Tell whether the process takes connections."""
        return self._counts[slot] != _AWAY

    def connections(self, slot: int) -> int:
        """Return the open connections of a process."""
        return self._counts[slot] if self.serves(slot) else 0

    def has_more_than_another(self, slot: int) -> bool:
        """Tell whether another process has fewer connections than this one."""
        return self._counts[slot] > min(self._counts)


class Buckets:
    """Token buckets by client, of all processes; of clients beyond those that find a place the one seen longest ago is
    forgotten.

    Args:
        rate: requests a second; 0 is no limit.
        burst: requests that may come at once.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._memory = mmap.mmap(-1, _BUCKET.size * _BUCKETS) if rate > 0 else None
        self._lock = tempfile.TemporaryFile() if rate > 0 else None  # noqa: SIM115 - open as long as the server

    def take(self, client: bytes) -> float:
        """Take one place; return 0, or how many seconds to wait for it."""
        if self._memory is None or self._lock is None:
            return 0.0
        key = hashlib.sha256(client).digest()[:16]
        with _locked(self._lock):
            # Of the whole machine: what one process has written, another one may compare.
            now = time.monotonic()
            place, left, seen = self._find(self._memory, key, now)
            left = min(self._burst, left + (now - seen) * self._rate)
            allowed = left >= 1
            _BUCKET.pack_into(self._memory, place, key, left - 1 if allowed else left, now)
        return 0.0 if allowed else (1 - left) / self._rate

    def close(self) -> None:
        """Let go of what the system lent."""
        if self._lock is not None:
            self._lock.close()

    def _find(self, memory: mmap.mmap, key: bytes, now: float) -> tuple[int, float, float]:
        """Return the client's place, what it has left, and when it was seen; a new one gets the oldest place near."""
        first = int.from_bytes(key[:8], "big") % (_BUCKETS - _NEAR)
        oldest, oldest_seen = first * _BUCKET.size, now
        for place in range(first * _BUCKET.size, (first + _NEAR) * _BUCKET.size, _BUCKET.size):
            who, left, seen = _BUCKET.unpack_from(memory, place)
            if who == key:
                return place, left, seen
            if seen < oldest_seen:
                oldest, oldest_seen = place, seen
        return oldest, self._burst, now


@contextlib.contextmanager
def _locked(file: IO[bytes]) -> Generator[None, None, None]:
    """Keep the other processes out; a lock of this kind goes with the process that holds it."""
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)


class Shared:
    """What the processes of one server share.

    Args:
        slots: processes.
        rate: see `Buckets`.
        burst: see `Buckets`.
    """

    def __init__(self, slots: int, rate: float, burst: int) -> None:
        self.slots = slots
        _remove_left()
        made = Path(tempfile.mkdtemp(prefix=_NEW))  # of mode 0700
        self._alive = (made / _ALIVE).open("wb")
        fcntl.flock(self._alive, fcntl.LOCK_EX)  # all that come of this process hold it, and it goes with the last one
        self.folder = made.rename(made.with_name(made.name.replace(_NEW, _PREFIX, 1)))  # seen only with its lock
        self.board = Board(slots)
        self.buckets = Buckets(rate, burst)

    def close(self) -> None:
        """Remove what lies on the disk."""
        self.buckets.close()
        self._alive.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_left() -> None:
    """Remove the folders of servers all of whose processes were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _ALIVE).open("rb") as file:
            if folder.stat().st_uid == os.getuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


__all__ = ["Board", "Buckets", "Shared"]
