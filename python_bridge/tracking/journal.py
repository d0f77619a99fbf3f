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
_SEGMENTS = 8  # at least, of a full journal: it shrinks by whole ones
_MAX_ASIDE = 8
MAX_RECORD = 4 * 1024 * 1024
"""Bytes of one record."""
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
        self._closed = False
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _SEGMENTS)
        self._append_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _lock(folder)
        try:
            numbers = self._numbers()
            self._segment, self._offset = self._read_position(numbers)
            self._bytes = sum(path.stat().st_size for path in folder.glob(f"*{_SUFFIX}"))
        except OSError:
            self._held.close()
            raise
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
            if self._closed or self._bytes + len(record) > self._max_bytes or len(body) > MAX_RECORD:
                self.dropped += 1
                return False
            if not self._write(record):
                self.dropped += 1
                return False
            self._bytes += len(record)
            self._written += len(record)
            return True

    def _write(self, record: bytes) -> bool:
        """Write a record whole or, on a disk that fails, not at all."""
        file = None
        try:
            file = self._target()
            if file.write(record) == len(record):  # a disk that fills up takes a part, and raises nothing
                return True
        except OSError:
            pass
        try:
            if file is not None:
                os.ftruncate(file.fileno(), self._written)
        except OSError:
            self._end_segment()  # a part of the record is there: nothing may follow it
        return False

    def _target(self) -> IO[bytes]:
        if self._file is None or self._written >= self._segment_bytes:
            self._end_segment()
            path = self._path(self._writing)
            self._file = open(path, "ab", buffering=0, opener=_private)  # noqa: SIM115 - open until its end
        return self._file

    def _end_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._writing += 1
            self._written = 0

    @property
    def end(self) -> tuple[int, int]:
        """The position behind everything that was appended so far."""
        with self._append_lock:
            return self._writing, self._written

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> tuple[list[bytes], tuple[int, int]]:
        """Return at most `limit` records that were not done with, and the position after them, for `done`."""
        bodies: list[bytes] = []
        segment, offset = self._segment, self._offset
        while len(bodies) < limit:
            ended = segment < self._writing  # asked before it is read: what is written meanwhile must not be skipped
            file = self._open(segment)
            if file is None:
                left = [number for number in self._numbers() if number >= segment]
                if not left:
                    break
                segment, offset = left[0], offset if left[0] == segment else 0
                continue
            found, offset, whole = _read_records(file, offset, limit - len(bodies))
            bodies.extend(found)
            if len(bodies) >= limit or not (ended or self._end_damaged(segment, offset)):
                break
            if ended:
                if not whole:
                    self._put_aside(segment)
                segment, offset = segment + 1, 0
        return bodies, (segment, offset)

    def _end_damaged(self, segment: int, offset: int) -> bool:
        """End the segment that is written if what was written whole cannot be read; return whether it has ended."""
        with self._append_lock:
            if segment == self._writing and offset < self._written:
                file = self._open(segment)
                if file is None or not _read_records(file, offset, 1)[0]:
                    self._end_segment()
            return segment < self._writing

    def done(self, position: tuple[int, int]) -> None:
        """Remember that everything before `position` was dealt with; segments behind it go."""
        with self._append_lock:
            if position == (self._writing, self._written) and self._written * _SEGMENTS >= self._segment_bytes:
                self._end_segment()  # so that its bytes are free for others
                position = self._writing, 0
        for number in self._numbers():
            if number < position[0]:
                self._forget(number)
        self._segment, self._offset = position  # last: who waits for it finds the room that this has made
        temporary = self.folder / f"{_POSITION}.new"
        with contextlib.suppress(OSError):  # on a full disk; after a restart some come twice, which does no harm
            temporary.write_bytes(orjson.dumps({"segment": position[0], "offset": position[1]}))
            temporary.replace(self.folder / _POSITION)

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
        """What was not dealt with."""
        return max(0, self._bytes - self._offset)

    @property
    def position(self) -> tuple[int, int]:
        """Everything before it was dealt with."""
        return self._segment, self._offset

    @property
    def is_empty(self) -> bool:
        """Whether everything was dealt with."""
        return not self.read(1)[0]

    def close(self) -> None:
        """Let go of the folder; what comes afterwards is dropped and counted."""
        self._seal()
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None
        self._held.close()

    def _seal(self) -> None:
        with self._append_lock:
            self._closed = True
            self._end_segment()

    def remove(self) -> None:
        """Close, and take the folder away if nothing is left in it but what was put aside."""
        self._seal()
        if self.is_empty and not self.quarantined:  # while it is locked: nobody else has begun to write here
            with contextlib.suppress(OSError):
                for path in self.folder.iterdir():
                    path.unlink(missing_ok=True)
                self.folder.rmdir()
        self.close()

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
        if len(list(self.folder.glob("*.damaged"))) >= _MAX_ASIDE:
            return
        with contextlib.suppress(OSError):
            os.link(path, path.with_suffix(".damaged"))

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{_SUFFIX}"

    def _read_position(self, numbers: list[int]) -> tuple[int, int]:
        first = min(numbers, default=1)
        try:
            value = orjson.loads((self.folder / _POSITION).read_bytes())
            segment, offset = int(value["segment"]), int(value["offset"])
        except (OSError, ValueError, KeyError, TypeError):
            return first, 0  # twice is better than never
        if segment in numbers:
            size = self._path(segment).stat().st_size
            return segment, offset if 0 <= offset <= size else 0
        return (segment, 0) if segment == max(numbers, default=segment - 1) + 1 > 0 else (first, 0)


def _read_records(file: IO[bytes], offset: int, limit: int) -> tuple[list[bytes], int, bool]:
    """Return records from `offset`, the place after them, and whether nothing torn or damaged follows."""
    bodies: list[bytes] = []
    file.seek(offset)
    while len(bodies) < limit:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return bodies, offset, not head
        length, checksum = _HEAD.unpack(head)
        body = file.read(length) if length <= MAX_RECORD else b""
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
        if not os.fstat(file.fileno()).st_nlink:
            raise FileNotFoundError(f"{folder} was removed meanwhile")
    except OSError:
        file.close()
        raise
    return file


__all__ = ["MAX_RECORD", "Journal"]
