"""Which request a task works on, for logs that are written far from it."""

from contextvars import ContextVar
from typing import Any, Protocol


class RequestLike(Protocol):
    """What logs tell of a request."""

    def log_fields(self) -> dict[str, Any]:
        """Return `request_id`, `method`, and `session` and `trace_id` when there are any."""
        ...


current_request: ContextVar[RequestLike | None] = ContextVar("python_bridge_request", default=None)
"""Reaches tasks and threads that copy their context; ``None`` outside of requests."""

__all__ = ["RequestLike", "current_request"]
