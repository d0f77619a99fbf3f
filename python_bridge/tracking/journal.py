"""A bounded journal on disk: records are appended in microseconds, read in order, and kept until they are done with.

A folder holds segments (`000001.journal`), each a row of records: length, checksum, body. `position.json` says up to
where they were read. What a killed process left is taken over by the next one; what is damaged is put aside.
"""

import contextlib
import fcntl
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import IO

import orjson

_HEAD = struct.Struct(">II")
_SEGMENT_BYTES = 8 * 1024 * 1024
_MAX_RECORD = 4 * 1024 * 1024
_SUFFIX = ".journal"
_POSITION = "position.json"
_LOCK = "lock"


class Journal:
    """One process's journal. Appending is safe for threads; one thread reads.

    Args:
        folder: made when it is not there; readable by its owner alone.
        max_bytes: records above it are dropped and counted.

    Attributes:
        dropped: records that were not taken: the journal was full, the disk failed, or they were too large.
        quarantined: damaged segments that were put aside.
    """

    def __init__(self, folder: Path, max_bytes: int = 256 * 1024 * 1024) -> None:
        """
        Raises:
            OSError: the folder cannot be made or written, or another process has it.
        """
        self.folder = folder
        self.dropped = 0
        self.quarantined = 0
        self._max_bytes = max_bytes
        self._append_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _lock(folder)
        self._segment, self._offset = self._read_position()
        numbers = self._numbers()
        self._bytes = sum(path.stat().st_size for path in folder.glob(f"*{_SUFFIX}"))
        # Never after what another process wrote last: its end may be torn.
        self._writing = max([*numbers, self._segment - 1]) + 1
        self._file: IO[bytes] | None = None
        self._written = 0
        self._reading: tuple[int, IO[bytes]] | None = None

    # -- writing ------------------------------------------------------------------------------------------------

    def append(self, body: bytes) -> bool:
        """Take one record; return whether there was room for it. It survives the death of the process."""
        record = _HEAD.pack(len(body), zlib.crc32(body)) + body
        with self._append_lock:
            if self._bytes + len(record) > self._max_bytes or len(body) > _MAX_RECORD:
                self.dropped += 1
                return False
            try:
                self._target().write(record)
            except OSError:
                self.dropped += 1
                self._end_segment()  # a part of the record may be there: nothing may follow it
                return False
            self._bytes += len(record)
            self._written += len(record)
            return True

    def _target(self) -> IO[bytes]:
        if self._file is None or self._written >= _SEGMENT_BYTES:
            self._end_segment()
            path = self._path(self._writing)
            self._file = open(path, "ab", buffering=0, opener=_private)  # noqa: SIM115 - open until its end
            self._written = 0
        return self._file

    def _end_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._writing += 1

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> tuple[list[bytes], tuple[int, int]]:
        """Return at most `limit` records that were not done with, and the position after them, for `done`."""
        bodies: list[bytes] = []
        segment, offset = self._segment, self._offset
        while len(bodies) < limit:
            file = self._open(segment)
            if file is None:
                following = [number for number in self._numbers() if number > segment]
                if not following:
                    break
                segment, offset = following[0], 0
                continue
            found, offset, whole = _read_records(file, offset, limit - len(bodies))
            bodies.extend(found)
            if len(bodies) >= limit or segment >= self._writing:
                break
            if not whole:
                self._put_aside(segment)
            segment, offset = segment + 1, 0
        return bodies, (segment, offset)

    def done(self, position: tuple[int, int]) -> None:
        """Remember that everything before `position` was dealt with; segments behind it go."""
        self._segment, self._offset = position
        temporary = self.folder / f"{_POSITION}.new"
        temporary.write_bytes(orjson.dumps({"segment": position[0], "offset": position[1]}))
        temporary.replace(self.folder / _POSITION)
        for number in self._numbers():
            if number < position[0]:
                self._forget(number)

    def _forget(self, number: int) -> None:
        path = self._path(number)
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            with self._append_lock:
                self._bytes -= size
        if self._reading is not None and self._reading[0] == number:
            self._reading[1].close()
            self._reading = None

    @property
    def waiting_bytes(self) -> int:
        """What lies on disk."""
        return self._bytes

    @property
    def is_empty(self) -> bool:
        """Whether everything was dealt with."""
        return not self.read(1)[0]

    def close(self) -> None:
        """Let go of the folder."""
        with self._append_lock:
            self._end_segment()
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None
        self._held.close()

    def remove(self) -> None:
        """Close, and take the folder away if nothing is left in it but what was put aside."""
        empty = self.is_empty
        self.close()
        if empty and not self.quarantined:
            for path in self.folder.iterdir():
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _open(self, segment: int) -> IO[bytes] | None:
        if self._reading is not None and self._reading[0] == segment:
            return self._reading[1]
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None
        try:
            self._reading = segment, open(self._path(segment), "rb")  # noqa: SIM115 - kept while it is read
        except FileNotFoundError:
            return None
        return self._reading[1]

    def _put_aside(self, segment: int) -> None:
        self.quarantined += 1
        path = self._path(segment)
        with contextlib.suppress(OSError):
            os.link(path, path.with_suffix(".damaged"))

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{_SUFFIX}"

    def _read_position(self) -> tuple[int, int]:
        try:
            value = orjson.loads((self.folder / _POSITION).read_bytes())
            return int(value["segment"]), int(value["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return 1, 0  # twice is better than never


def _read_records(file: IO[bytes], offset: int, limit: int) -> tuple[list[bytes], int, bool]:
    """Return records from `offset`, the place after them, and whether nothing torn or damaged follows."""
    bodies: list[bytes] = []
    file.seek(offset)
    while len(bodies) < limit:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return bodies, offset, not head
        length, checksum = _HEAD.unpack(head)
        body = file.read(length) if length <= _MAX_RECORD else b""
        if len(body) < length or zlib.crc32(body) != checksum:
            return bodies, offset, False
        bodies.append(body)
        offset += _HEAD.size + length
    return bodies, offset, True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _lock(folder: Path) -> IO[bytes]:
    file = open(folder / _LOCK, "wb", opener=_private)  # noqa: SIM115 - the lock lasts as long as it is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


__all__ = ["Journal"]
