"""`worker/status`: load and memory of this process."""

import gc
import os
import threading
import time
from typing import Any

from python_bridge.services.dispatch import Dispatcher

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def rss_bytes(pid: int | None = None) -> int:
    """Return the resident memory of a process, this one by default; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def worker_status(dispatcher: Dispatcher, started: float, programs: int, abandoned_threads: int) -> dict[str, Any]:
    """Return the result of `worker/status`.

    Args:
        started: `time.monotonic()` at the start of the process.
        programs: how many programs are kept.
        abandoned_threads: those of the engine; tasks that ignore their cancellation are added.
    """
    return {
        "worker_id": dispatcher.identity.worker_id,
        "pid": os.getpid(),
        "state": dispatcher.life.phase.value,
        "reason": dispatcher.life.reason,
        "in_flight": dispatcher.admission.running,
        "queued": len(dispatcher.pending) - min(len(dispatcher.pending), dispatcher.admission.running),
        "rss_bytes": rss_bytes(),
        "cpu_ms": int(time.process_time() * 1000),
        "threads": threading.active_count(),
        "uptime_ms": int((time.monotonic() - started) * 1000),
        "calls": dispatcher.calls,
        "abandoned_threads": len(dispatcher.abandoned) + abandoned_threads,
        "programs": programs,
        "connections": len(dispatcher.conversations),
        "gc": gc.get_stats(),
    }


__all__ = ["rss_bytes", "worker_status"]
