"""Who a worker is: versions and ids for `initialize`, found without importing what they tell of."""

import os
import platform
import secrets
import sys
from dataclasses import dataclass, field
from typing import Any

from python_bridge.settings import Settings
from python_bridge.wire.codec import ENCODINGS

_VERSION = "0.1.0"


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution from the name of its metadata folder.

    `importlib.metadata` tells the same, but takes 50 ms to import: more than the rest of `initialize`.
    """
    start = distribution.lower() + "-"
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info") and name.lower().startswith(start):
                return name[len(start) : -len(".dist-info")]
    return None


def _make_id() -> str:
    return f"w-{secrets.token_hex(4)}"


@dataclass(slots=True)
class Identity:
    """What `initialize` says of the process itself."""

    worker_id: str = field(default_factory=_make_id)
    dspy_version: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Identity":
        """Return the identity of a process with these settings: its id is given, or made up."""
        return cls(settings.worker_id) if settings.worker_id else cls()

    def hello(self, version: int, settings: Settings, operations: list[str], features: list[str]) -> dict[str, Any]:
        """Return the result of `initialize` (`proto/PROTOCOL.md`, section 5)."""
        return {
            "protocol_version": version,
            "server": {"name": "python_bridge", "version": installed_version("python_bridge") or _VERSION},
            "python": {"version": platform.python_version()},
            "dspy": {"version": self.dspy_version or installed_version("dspy")},
            "encodings": list(ENCODINGS),
            "limits": {
                "max_frame_bytes": settings.max_frame_bytes,
                "max_in_flight": settings.max_in_flight,
                "max_queue": settings.max_queue,
                "max_depth": settings.max_depth,
            },
            "operations": operations,
            "features": features,
            "worker_id": self.worker_id,
            "pid": os.getpid(),
        }


__all__ = ["Identity", "installed_version"]
