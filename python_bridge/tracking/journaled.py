"""A tracker whose caller pays microseconds: a journal on disk, and a thread that drains it in batches."""

import contextlib
import logging
import os
import random
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import orjson

from python_bridge.tracking.bodies import body_of
from python_bridge.tracking.journal import Journal

_PASSWORD = re.compile(r"//[^/@\s]*@")
logger = logging.getLogger("python_bridge.tracking")
_MAX_WAIT_S = 60.0
_ATTEMPTS = 10
_DOWN_SHARE = 0.2
_SLOW_S = 15.0  # a batch takes MLflow less, the first into a new SQLite file too
_LAST_S = 0.5  # to let go of the journal


class Exporter(Protocol):
    """Takes batches of executions to where they are looked at. Used by one thread.

    An error of the kinds of `DATA_ERRORS`, `Refused` among them, is taken for one of the events themselves.
    """

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        """Export all of `events`; a batch that failed comes again, so the same event twice must do no harm."""
        ...

    def close(self) -> None: ...


class Refused(Exception):
    """The tracker works, and does not take what it was given."""


# What executions of another version, or of odd contents, make of an exporter.
DATA_ERRORS = (Refused, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_MAX_REFUSALS = 8
_REFUSED_FILE = "refused.jsonl"
_REFUSED_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """How executions are tracked.

    Attributes:
        folder: of the journals, one for each process.
        max_bytes: of one journal.
        batch: executions that are exported at a time.
        sampling: share of the executions that are tracked, 0 to 1.
        steps_a_second: executions of which all steps are recorded; recording costs some 0.3 ms a step.
        close_s: seconds that `close` waits for the last batches.
        retry_s: seconds after the first failure to export; they double with each further one, up to a minute.
    """

    folder: Path
    max_bytes: int = 256 * 1024 * 1024
    batch: int = 250
    sampling: float = 1.0
    steps_a_second: float = 2.0
    close_s: float = 10.0
    retry_s: float = 1.0


class JournaledTracker:
    """See `Tracker`.

    Args:
        make_exporter: called in the thread, at the first event, and again after failures.
        repeats: see `Tracker.repeats`.
    """

    def __init__(
        self,
        options: TrackingOptions,
        make_exporter: Callable[[], Exporter],
        repeats: Callable[[Any], bool] | None = None,
    ) -> None:
        """
        Raises:
            OSError: the journal's folder cannot be made.
        """
        self._options = options
        self._make_exporter = make_exporter
        self._repeats = repeats
        self._journal = _new_journal(options)
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._closing = False
        self._recorded = self._exported = self._failures = self._unreadable = self._refused = 0
        self._failing = 0  # attempts in a row
        self._attempted: float | None = None  # when the export began that is at work
        self._error: str | None = None
        self._allowance, self._filled = options.steps_a_second, time.monotonic()
        self._thread = threading.Thread(target=self._drain, name="dspex-tracking", daemon=True)
        self._thread.start()

    def wants_steps(self) -> bool:
        """Whether the next execution's steps are to be recorded: a few a second are."""
        now, rate = time.monotonic(), self._options.steps_a_second
        self._allowance = min(max(rate, 1.0), self._allowance + (now - self._filled) * rate)
        self._filled = now
        if self._allowance < 1 or rate <= 0:
            return False
        self._allowance -= 1
        return True

    def record(self, event: dict[str, Any]) -> None:
        """Write one execution into the journal."""
        if self._options.sampling < 1 and random.random() >= self._options.sampling:
            return
        self._recorded += 1
        self._journal.append(body_of(event))

    def repeats(self, callback: Any) -> bool:
        """Whether a callback of DSPy's would write the same executions to the same place once more."""
        try:
            return self._repeats is not None and self._repeats(callback)
        except Exception:  # of MLflow, asked where it writes to; twice is better than never
            return False

    def stats(self) -> dict[str, Any]:
        """Return counts."""
        return {
            "recorded": self._recorded,
            "exported": self._exported,
            "dropped": self._journal.dropped,
            "quarantined": self._journal.quarantined + self._unreadable + self._refused,
            "waiting_bytes": self._journal.waiting_bytes,
            "export_failures": self._failures,
            "last_error": self._error,
        }

    def flush(self, timeout: float) -> bool:
        """Wait until everything is exported."""
        end = time.monotonic() + timeout
        target = self._journal.end
        self._wake.set()  # once: a tracker that is down is not asked more often because somebody waits for it
        with self._idle:
            while self._journal.position < target:
                left = end - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._idle.wait(min(left, 0.5))
        return True

    def close(self) -> None:
        """Export what can be exported within `close_s`, a fraction of it when the tracker is down; the rest waits on
        disk."""
        if self._closing:
            return
        end = time.monotonic() + self._options.close_s * (_DOWN_SHARE if self._is_down() else 1.0)
        self.flush(end - time.monotonic())
        self._closing = True
        self._wake.set()
        self._thread.join(max(0.0, end - time.monotonic()) + _LAST_S)

    def _is_down(self) -> bool:
        """Whether the tracker fails, or is silent for so long that MLflow must be repeating requests."""
        attempted = self._attempted
        return self._failing > 0 or (attempted is not None and time.monotonic() - attempted > _SLOW_S)

    # -- the thread ---------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        exporter: Exporter | None = None
        suspect = False
        orphans = _orphans(self._options, self._journal.folder)
        while True:
            journal = orphans[0] if orphans else self._journal
            try:
                batch, position = journal.read(self._options.batch)
                if batch:
                    self._attempted = time.monotonic()
                    exporter = exporter or self._make_exporter()
                    self._export(exporter, self._read(batch), suspect)
                    self._attempted = None
                if position != journal.position:
                    journal.done(position)
                self._failing, suspect = 0, False
            except Exception as error:  # whatever the tracker's library or server does, executions go on
                self._note(error)
                self._attempted = None
                exporter, suspect = _closed(exporter), isinstance(error, DATA_ERRORS)
                wait = min(_MAX_WAIT_S, self._options.retry_s * 2.0 ** min(self._failing - 1, 16))
                if self._pause(wait * random.uniform(0.5, 1.0)):
                    break
                continue
            self._note_done()
            if not batch and orphans:
                orphans.pop(0).remove()
            elif not batch and self._pause(0.5):
                break
        _closed(exporter)
        for left in orphans:
            left.close()
        self._journal.remove()

    def _export(self, exporter: Exporter, events: list[dict[str, Any]], suspect: bool) -> None:
        """Export a batch; after one that was refused, each of it alone, and put aside what is refused again."""
        if not suspect:
            exporter.export(events)
            self._exported += len(events)
            return
        refused: list[tuple[dict[str, Any], Exception]] = []
        for event in events:
            try:
                exporter.export([event])
            except DATA_ERRORS as error:
                refused.append((event, error))
        if refused and len(refused) == len(events) and self._failing < _MAX_REFUSALS:
            raise refused[0][1]  # no other one shows that it is they, and not the tracker
        for event, error in refused:
            self._put_aside(event, error)
        self._exported += len(events) - len(refused)

    def _put_aside(self, event: dict[str, Any], error: Exception) -> None:
        self._refused += 1
        path = self._options.folder / _REFUSED_FILE
        logger.warning("the tracker does not take execution %s (kept in %s): %s", event.get("id"), path, told(error))
        with contextlib.suppress(OSError):
            if not path.exists() or path.stat().st_size < _REFUSED_BYTES:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
                    file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    def _read(self, batch: Sequence[bytes]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for body in batch:
            try:
                event = orjson.loads(body)
            except orjson.JSONDecodeError:
                event = None
            if isinstance(event, dict):
                events.append(cast("dict[str, Any]", event))
            else:
                self._unreadable += 1
        return events

    def _pause(self, seconds: float) -> bool:
        """Wait for work; return whether it is time to end."""
        self._wake.wait(seconds)
        self._wake.clear()
        return self._closing

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._failing += 1
        self._error = told(error)
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            logger.warning(
                "tracking failed (%d times so far); executions wait in %s: %s",
                self._failures,
                self._journal.folder,
                self._error,
            )

    def _note_done(self) -> None:
        with self._idle:
            self._idle.notify_all()


def _new_journal(options: TrackingOptions) -> Journal:
    """Return a journal of this process's own. One that starts at the same time may take an empty folder for left."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            return Journal(options.folder / f"{os.getpid()}-{secrets.token_hex(4)}", options.max_bytes)
    return Journal(options.folder / f"{os.getpid()}-{secrets.token_hex(4)}", options.max_bytes)


def _orphans(options: TrackingOptions, own: Path) -> list[Journal]:
    """Return the journals that processes left which are no more."""
    found: list[Journal] = []
    for folder in sorted(path for path in options.folder.iterdir() if path.is_dir() and path != own):
        with contextlib.suppress(OSError):  # its process lives, or another one was quicker
            found.append(Journal(folder, options.max_bytes))
    return found


def _closed(exporter: Exporter | None) -> None:
    if exporter is not None:
        with contextlib.suppress(Exception):
            exporter.close()


def told(error: Exception) -> str:
    """Return an error in one short text, without the passwords of addresses."""
    return _PASSWORD.sub("//***@", f"{type(error).__name__}: {error}")[:300]


__all__ = ["DATA_ERRORS", "Exporter", "JournaledTracker", "Refused", "TrackingOptions", "told"]
