"""What comes back, read: problem details, and what HTTP servers in between say."""

import json
import math
from collections.abc import Mapping
from typing import Any, cast

from python_bridge.errors import ERROR_KINDS, BridgeError, ErrorKind
from python_bridge.wire.json_tags import Untagger
from python_bridge.wire.values import Limits

_LIMITS = Limits(max_depth=200, max_items=10_000_000)
_BY_STATUS: dict[int, ErrorKind] = {
    401: "unauthorized",
    403: "unauthorized",
    404: "not_found",
    413: "limit_exceeded",
    429: "overloaded",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
}
"""Kinds for answers that are no problem details: those of a proxy, or of another server."""


def read(status: int, headers: Mapping[str, str], content: bytes) -> Any:
    """Return the body of a good answer.

    Raises:
        BridgeError: what the problem details say; `protocol_error` for what is no JSON.
    """
    body = parse(content)
    if 200 <= status < 300 and body is not None:
        return body
    raise _error(status, headers, body)


def parse(content: bytes) -> Any:
    """Return the value of JSON with `$type` tags, ``None`` for what is no JSON.

    Raises:
        BridgeError: `protocol_error` for a tag that this version does not know.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return Untagger(_LIMITS, []).value(value, 1) if b'"$type"' in content else value


def member(body: Any, name: str, kind: type) -> Any:
    """Return a member of a good answer.

    Raises:
        BridgeError: `protocol_error` when it is missing or of another type.
    """
    if not isinstance(body, dict) or not isinstance(value := cast("dict[str, Any]", body).get(name), kind):
        raise BridgeError("protocol_error", f"the server's answer has no {name!r}; is base_url right?")
    return value


def read_last(data: dict[str, Any]) -> BridgeError:
    """Return the error that ends a stream."""
    if "data" not in data:
        return BridgeError("cancelled", str(data.get("message", "the server stopped the work")))
    return BridgeError.from_object(data)


def _error(status: int, headers: Mapping[str, str], body: Any) -> BridgeError:
    problem = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    told: Any = problem.get("details")
    details: dict[str, Any] = dict(told) if isinstance(told, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    details |= {"status": status, **{name: problem[name] for name in ("request_id", "hint") if problem.get(name)}}
    if problem.get("errors"):
        details["problems"] = problem["errors"]
    kind = problem.get("kind")
    retryable = problem.get("retryable")
    return BridgeError(
        cast("ErrorKind", kind) if kind in ERROR_KINDS else _BY_STATUS.get(status, "protocol_error"),
        str(problem.get("detail") or f"the server answered {status} without saying why; is base_url right?"),
        retryable=retryable if isinstance(retryable, bool) else None,
        retry_after=_seconds(headers.get("retry-after")),
        details=details,
    )


def _seconds(text: str | None) -> float | None:
    """Return the seconds of a Retry-After; dates are passed over, the back-off serves as well."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


__all__ = ["member", "read", "read_last"]
