"""Error answers of chat completions servers → `dspy.lm15` errors."""

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any

import orjson

from python_bridge.engine.compat.lm15 import lm15
from python_bridge.engine.secrets import hide

_READ, _SHOWN = 20_000, 500  # characters of an answer that are looked at, and that an error keeps
_CLASSES: dict[int, Any] = {
    401: lm15.AuthError,
    402: lm15.BillingError,
    403: lm15.AuthError,
    404: lm15.UnsupportedModelError,
    408: lm15.TimeoutError,
    429: lm15.RateLimitError,
    504: lm15.TimeoutError,
}
_BY_CODE: dict[str, Any] = {
    "context_length_exceeded": lm15.ContextLengthError,
    "insufficient_quota": lm15.BillingError,
    "model_not_found": lm15.UnsupportedModelError,
}


def status_error(status: int, headers: Mapping[str, str], content: bytes, provider: str) -> Exception:
    """Return the error for a status that is no success; its message is the server's."""
    message, code = _read(content)
    kind = _BY_CODE.get(code or "") or _CLASSES.get(status)
    if kind is None:
        kind = lm15.ServerError if status >= 500 else lm15.InvalidRequestError if status >= 400 else lm15.ProviderError
    return kind(
        message or f"status {status} without a message",
        provider=provider,
        provider_code=code,
        status=status,
        request_id=headers.get("x-request-id"),
        retry_after=retry_after(headers.get("retry-after")),
    )


def _read(content: bytes) -> tuple[str, str | None]:
    try:
        data = orjson.loads(content)
    except ValueError:
        return _cut(content[:_READ].decode("utf-8", "replace")), None
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return _cut(str(error)), None
    code = error.get("code") or error.get("type")
    return _cut(str(error.get("message", ""))), str(code) if code else None


def _cut(text: str) -> str:
    # First hidden, then cut: half a key would no longer be known as one.
    return hide(text[:_READ])[:_SHOWN]


def retry_after(value: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header: a number or a date; ``None`` for anything else."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


__all__ = ["retry_after", "status_error"]
