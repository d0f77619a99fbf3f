"""Ends this process when its parent is gone, also when no stream tells of it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PERIOD_S = 1.0


def die_with_parent(signum: int = signal.SIGTERM) -> None:
    """Ask the kernel for a signal when the parent ends, or rather its thread that made this process. Linux only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def watch_parent(loop: asyncio.AbstractEventLoop, parent: int, gone: Callable[[], object]) -> None:
    """Call `gone` once when the process `parent` is no longer the parent of this one; looked at every second."""

    def look() -> None:
        if os.getppid() == parent:
            loop.call_later(_PERIOD_S, look)
        else:
            gone()

    look()


__all__ = ["die_with_parent", "watch_parent"]
