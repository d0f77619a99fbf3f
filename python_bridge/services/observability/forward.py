"""Log records for clients that want them, as `log/message` notifications."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from python_bridge.services.observability.current import current_request
from python_bridge.services.observability.redaction import Redactor

_MAX_TEXT = 4096
_MAX_PENDING = 256  # records of other threads that the loop has not yet seen


class ForwardHandler(logging.Handler):
    """Gives records to `send`, on the loop, without secrets and without tracebacks.

    Args:
        send: takes the number of the level and the parameters of `log/message`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, send: Callable[[int, dict[str, Any]], None], redactor: Redactor
    ) -> None:
        super().__init__()
        self._loop = loop
        self._send = send
        self._redactor = redactor
        self._pending = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._pending >= _MAX_PENDING or self._loop.is_closed():
            return
        self._pending += 1
        request = current_request.get()
        params = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.text(record.getMessage())[:_MAX_TEXT],
            "data": {} if request is None else request.log_fields(),
        }
        self._loop.call_soon_threadsafe(self._deliver, record.levelno, params)

    def _deliver(self, level: int, params: dict[str, Any]) -> None:
        self._pending -= 1
        self._send(level, params)


__all__ = ["ForwardHandler"]
