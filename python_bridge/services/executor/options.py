"""Settings of an executor, and the environment variables that give their defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from python_bridge.settings import SettingsError

MAX_WORKERS = 4


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """How results are kept.

    Attributes:
        ttl: seconds.
        path: SQLite file for results that outlive the process, ``None`` for none.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_entries: int = 10_000
    ttl: float = 3600.0
    path: Path | None = None


def max_workers_of(given: int | None, environ: Mapping[str, str] | None = None) -> int:
    """Return how many items of a batch work at a time: what is given, else `MAX_WORKERS`, else 4.

    Raises:
        SettingsError: it is no whole number from 1.
    """
    environ = os.environ if environ is None else environ
    text = environ.get("MAX_WORKERS") if given is None else str(given)
    if not text:
        return MAX_WORKERS
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"max_workers (or MAX_WORKERS) must be a whole number from 1, it is {text!r}")
    return int(text)


def log_level_of(environ: Mapping[str, str] | None = None) -> str | None:
    """Return `PIPELINE_LOG_LEVEL` in capitals, ``None`` when it is not set.

    Raises:
        SettingsError: it is no level.
    """
    environ = os.environ if environ is None else environ
    level = environ.get("PIPELINE_LOG_LEVEL", "").upper()
    if level not in ("", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise SettingsError(f"PIPELINE_LOG_LEVEL must be debug, info, warning, error or critical, it is {level!r}")
    return level or None


__all__ = ["CacheOptions", "log_level_of", "max_workers_of"]
