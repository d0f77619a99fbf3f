"""The file of a batch's results: whole lines only, one writer, and each line tells what it answers."""

import fcntl
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from python_bridge.cli.ending import CommandError, fail
from python_bridge.cli.items import same_file

_HASH_CHARS = 16


def digest(value: Any) -> str:
    """Return a short hash of plain data; the order of names counts, as it does for a prompt."""
    text = json.dumps(value, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]


class Results:
    """Results, appended a line at a time.

    Args:
        target: the file; ``-`` is the standard output.
        source: of the items; it is never written to.
        resume: whether the file may be there already.
        program: hash of the program.
    """

    def __init__(self, target: Path, source: Path, resume: bool, program: str) -> None:
        """
        Raises:
            CommandError: the file cannot be written, belongs to another batch, or is what is read.
        """
        self.target = target
        self._program = program
        self._answers: dict[int, tuple[int, str | None]] = {}
        if str(target) == "-":
            self._file, self._regular = os.dup(1), False
        else:
            self._file, self._regular = self._open(source, resume)
        try:
            if resume and self._regular:
                self._read()
        except CommandError:
            self.close()
            raise

    def _open(self, source: Path, resume: bool) -> tuple[int, bool]:
        target = self.target
        if same_file(source, target):
            fail(f"{target} is what is read; give the results a file of their own")
        try:
            if not resume and target.is_file():
                fail(f"{target} exists; --resume goes on with it, or give another name")
            file = os.open(target, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            regular = stat.S_ISREG(os.fstat(file).st_mode)
        except OSError as error:
            fail(f"{target} cannot be written: {error.strerror}")
        if regular:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                fail(f"{target}: another batch writes it; wait for its end, or give another name")
        return file, regular

    def _read(self) -> None:
        """Find what is answered; half a last line, of a kill, is cut off."""
        end, number = 0, 0
        with open(self._file, "rb", closefd=False) as lines:
            lines.seek(0)
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    os.ftruncate(self._file, end)
                    break
                end += len(line)
                self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        try:
            entry = json.loads(line)
            index, success = int(entry["index"]), bool(entry["success"])
        except (ValueError, KeyError, TypeError):
            fail(f"{self.target}:{number} is no line of results; mend or remove it, or give another name")
        if not success:
            return
        if entry.get("program_hash", self._program) != self._program:
            fail(f"{self.target}:{number} was answered by another program; give that one, or another name")
        self._answers[index] = number, entry.get("inputs_hash")

    def answered(self, items: list[dict[str, Any]]) -> set[int]:
        """Return the indexes of the items that have their answers.

        Raises:
            CommandError: an answer is one to other inputs than those that stand there now.
        """
        for index, (number, inputs) in self._answers.items():
            if not 0 <= index < len(items) or inputs not in (None, digest(items[index])):
                fail(
                    f"{self.target}:{number} answers other inputs than item {index} has now; "
                    "give the inputs as they were (more may follow them), or another name"
                )
        return set(self._answers)

    def write(self, index: int, inputs: Any, result: dict[str, Any]) -> None:
        """Append one result; it survives the death of the process. What could not be written whole is taken back.

        Raises:
            OSError: the disk is full, or nobody reads.
        """
        entry = {"index": index, **result, "program_hash": self._program, "inputs_hash": digest(inputs)}
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        before = os.fstat(self._file).st_size if self._regular else 0
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            if self._regular:
                os.ftruncate(self._file, before)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


__all__ = ["Results", "digest"]
