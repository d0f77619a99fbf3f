"""A tracker whose caller pays microseconds: a journal on disk, and a thread that drains it in batches."""

import contextlib
import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from python_bridge.tracking.journal import Journal

logger = logging.getLogger("python_bridge.tracking")
_MAX_WAIT_S = 60.0


class Exporter(Protocol):
    """Takes batches of executions to where they are looked at. Used by one thread."""

    def export(self, events: Sequence[dict[str, Any]]) -> None:
        """Export all of `events`; a batch that failed comes again, so the same event twice must do no harm."""
        ...

    def close(self) -> None: ...


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
    """

    def __init__(self, options: TrackingOptions, make_exporter: Callable[[], Exporter]) -> None:
        """
        Raises:
            OSError: the journal's folder cannot be made.
        """
        self._options = options
        self._make_exporter = make_exporter
        self._journal = Journal(options.folder / f"{os.getpid()}-{secrets.token_hex(4)}", options.max_bytes)
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._closing = False
        self._recorded = self._settled = self._exported = self._failures = self._unreadable = 0
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
        try:
            body = orjson.dumps(event, default=_told, option=orjson.OPT_NON_STR_KEYS)
        except (TypeError, ValueError, RecursionError):
            self._journal.dropped += 1
            return
        self._journal.append(body)

    def stats(self) -> dict[str, Any]:
        """Return counts."""
        return {
            "recorded": self._recorded,
            "exported": self._exported,
            "dropped": self._journal.dropped,
            "quarantined": self._journal.quarantined + self._unreadable,
            "waiting_bytes": self._journal.waiting_bytes,
            "export_failures": self._failures,
            "last_error": self._error,
        }

    def flush(self, timeout: float) -> bool:
        """Wait until everything is exported."""
        end = time.monotonic() + timeout
        self._wake.set()  # once: a tracker that is down is not asked more often because somebody waits for it
        with self._idle:
            while self._settled + self._journal.dropped < self._recorded:
                left = end - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._idle.wait(min(left, 0.5))
        return True

    def close(self) -> None:
        """Export what can be exported within `close_s`; the rest waits on disk."""
        if self._closing:
            return
        self.flush(self._options.close_s)
        self._closing = True
        self._wake.set()
        self._thread.join(self._options.close_s)

    # -- the thread ---------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        exporter: Exporter | None = None
        failures = 0
        orphans = _orphans(self._options, self._journal.folder)
        while True:
            journal = orphans[0] if orphans else self._journal
            try:
                batch, position = journal.read(self._options.batch)
                if batch:
                    exporter = exporter or self._make_exporter()
                    events = self._read(batch)
                    exporter.export(events)
                    self._exported += len(events)
                journal.done(position) if batch else None
                failures = 0
            except Exception as error:  # whatever the tracker's library or server does, executions go on
                failures += 1
                self._note(error)
                exporter = _closed(exporter)
                wait = min(_MAX_WAIT_S, self._options.retry_s * 2.0 ** min(failures - 1, 16))
                if self._pause(wait * random.uniform(0.5, 1.0)):
                    break
                continue
            self._note_done(0 if orphans else len(batch))
            if not batch and orphans:
                orphans.pop(0).remove()
            elif not batch and self._pause(0.5):
                break
        _closed(exporter)
        for left in orphans:
            left.close()
        self._journal.remove()

    def _read(self, batch: Sequence[bytes]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for body in batch:
            try:
                events.append(orjson.loads(body))
            except orjson.JSONDecodeError:
                self._unreadable += 1
        return events

    def _pause(self, seconds: float) -> bool:
        """Wait for work; return whether it is time to end."""
        self._wake.wait(seconds)
        self._wake.clear()
        return self._closing

    def _note(self, error: Exception) -> None:
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"[:300]
        if self._failures in (1, 10, 100) or self._failures % 1000 == 0:
            logger.warning(
                "tracking failed (%d times so far); executions wait in %s: %s",
                self._failures,
                self._journal.folder,
                self._error,
            )

    def _note_done(self, count: int) -> None:
        with self._idle:
            self._settled += count
            self._idle.notify_all()


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


def _told(value: Any) -> Any:
    if isinstance(value, set | frozenset | tuple):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return repr(value)[:500]


__all__ = ["Exporter", "JournaledTracker", "TrackingOptions"]
