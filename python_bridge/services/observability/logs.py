"""Logs as lines of JSON on standard error, with the ids of the request that they belong to and without secrets.

Modules log with the standard library's `logging`. structlog formats the records; it is imported with the first one,
for it takes longer to import than a worker takes to answer `initialize`.
"""

import logging
import os
import sys
from collections.abc import MutableMapping
from importlib import import_module
from typing import Any, TextIO

from python_bridge.services.observability.current import current_request
from python_bridge.services.observability.redaction import Redactor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("json", "console")
_MAX_TEXT = 16 * 1024
_QUIET = ("alembic", "asyncio", "httpx", "httpcore", "LiteLLM", "litellm", "dspy")

EventDict = MutableMapping[str, Any]


class LogFormatter(logging.Formatter):
    """Formats records by structlog's processors.

    Args:
        style: ``"json"`` or ``"console"``.

    Attributes:
        worker_id: once there is one.
    """

    worker_id: str | None = None

    def __init__(self, style: str, redactor: Redactor) -> None:
        super().__init__()
        self._shape = style
        self._redactor = redactor
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            self._formatter = self._make()
        return self._formatter.format(record)

    def _make(self) -> logging.Formatter:
        import structlog
        from structlog import stdlib

        before: list[Any] = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            stdlib.add_log_level,
            stdlib.add_logger_name,
            stdlib.ExtraAdder(),
        ]
        renderer: Any = structlog.dev.ConsoleRenderer(colors=False) if self._shape == "console" else _render_json
        after: list[Any] = [stdlib.ProcessorFormatter.remove_processors_meta, self._add_ids]
        if self._shape == "json":
            after.append(structlog.processors.format_exc_info)
        after += [self._redact, renderer]
        return stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after)

    def _add_ids(self, logger: Any, name: str, event: EventDict) -> EventDict:
        request = current_request.get()
        if request is not None:
            event.update(request.log_fields())
        if self.worker_id is not None:
            event["worker_id"] = self.worker_id
        event["pid"] = os.getpid()
        return event

    def _redact(self, logger: Any, name: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            if key != "exc_info":
                event[key] = _cut(self._redactor.member(key, value))
        return event


def _cut(value: Any) -> Any:
    return f"{value[:_MAX_TEXT]}… ({len(value)} characters)" if type(value) is str and len(value) > _MAX_TEXT else value


def _render_json(logger: Any, name: str, event: EventDict) -> str:
    import orjson

    first = {key: event[key] for key in ("timestamp", "level", "logger", "event") if key in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


def configure_logging(
    level: str, style: str = "json", redactor: Redactor | None = None, stream: TextIO | None = None
) -> logging.Handler:
    """Send all records of this process to `stream` (standard error), in place of earlier handlers.

    Args:
        level: of `LEVELS`; libraries that tell of each request speak from `warning` on, unless it is ``"debug"``.
        style: of `FORMATS`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setLevel(level.upper())
    handler.setFormatter(LogFormatter(style, redactor or Redactor()))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET if level == "debug" else logging.WARNING)
        # MLflow gives some libraries a handler that writes plain text past this one.
        logger.handlers, logger.propagate = [], True
    return handler


def name_worker(worker_id: str) -> None:
    """Have the lines of this process tell its worker's id."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, LogFormatter):
            handler.formatter.worker_id = worker_id


def preload() -> None:
    """Import what formats records: before a fork, where its time does not count."""
    import_module("structlog")


__all__ = ["FORMATS", "LEVELS", "LogFormatter", "configure_logging", "name_worker", "preload"]
