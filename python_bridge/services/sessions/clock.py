"""The clock of sessions: wall time that does not jump."""

import time
from collections.abc import Callable

_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def _elapsed_s() -> float:
    # Linux counts the time of a sleeping machine here, and leaves it out of the monotonic clock.
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


class SteadyClock:
    """Tells the wall time of its start plus the time that has run since.

    When the system's clock is set while a worker runs, its sessions neither end at once nor live for ever. After a
    start with a clock that is behind, times in the store lie ahead: a session then ends late, never early.

    Args:
        wall_s: seconds since 1970.
        elapsed_s: seconds from any point on, never going back.
    """

    def __init__(self, wall_s: Callable[[], float] = time.time, elapsed_s: Callable[[], float] = _elapsed_s) -> None:
        self._elapsed_s = elapsed_s
        self._offset_s = wall_s() - elapsed_s()

    def now(self) -> int:
        """Return milliseconds since 1970."""
        return int((self._elapsed_s() + self._offset_s) * 1000)


__all__ = ["SteadyClock"]
