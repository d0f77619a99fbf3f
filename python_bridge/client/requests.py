"""Requests of the REST API as data: what is sent, and whether it may be sent twice."""

import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from python_bridge.errors import BridgeError
from python_bridge.settings import is_unicode
from python_bridge.wire import json as wire_json

PREFIX = "/api/v1/dspy"
_KEY = re.compile(r"[\x21-\x7e]{1,256}")
_MARGIN_S = 5.0
"""The server tells its own time-out; the client waits this much longer to hear it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        path: below `PREFIX`.
        repeatable: whether doing it twice is as good as doing it once.
        timeout: seconds to wait for the answer, ``None`` for the client's own.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = True
    timeout: float | None = None


def check_base_url(base_url: str) -> str:
    """Return the URL without a slash at its end.

    Raises:
        BridgeError: `invalid_request` when it is none of HTTP.
    """
    try:
        parts = urlsplit(base_url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise BridgeError("invalid_request", f"base_url is {base_url!r:.200}; it must be like http://host:8000")
    return base_url.rstrip("/")


def authorization(token: str) -> bytes:
    """Return the header of a token.

    Raises:
        BridgeError: `invalid_request` for what no header can carry; the text does not show it.
    """
    if not is_unicode(token) or not token.strip() or not token.isprintable():
        raise BridgeError("invalid_request", "the token is empty or has control characters; was its line end read too?")
    return f"Bearer {token.strip()}".encode()


def execute(
    program_id: str,
    inputs: Mapping[str, Any],
    mode: str,
    timeout: float | None,
    session_id: str | None,
    key: str | None,
) -> Ask:
    """Return an execution; without a key it gets one of its own, so that it may be sent again."""
    body = {"program_id": program_id, "inputs": dict(inputs), "mode": str(mode)}
    return _keyed("/execute", body, timeout, {"session_id": session_id}, key)


def batch(
    program_id: str, inputs_list: Iterable[Mapping[str, Any]], mode: str, timeout: float | None, key: str | None
) -> Ask:
    """Return a batch that is waited for, however long its items take together."""
    body = {"program_id": program_id, "inputs_list": [dict(inputs) for inputs in inputs_list], "mode": str(mode)}
    ask = _keyed("/execute/batch", body, timeout, {}, key)
    return Ask(ask.method, ask.path, ask.body, ask.headers, ask.repeatable, timeout=float("inf"))


def job(program_id: str, inputs_list: Iterable[Mapping[str, Any]], mode: str, timeout: float | None) -> Ask:
    """Return a batch that runs behind the caller's back; a repeated one would be a second job."""
    body = {"program_id": program_id, "inputs_list": [dict(inputs) for inputs in inputs_list], "mode": str(mode)}
    return _post("/execute/batch?async=true", body | _given({"timeout": timeout}), repeatable=False)


def stream(program_id: str, inputs: Mapping[str, Any], mode: str, timeout: float | None, session_id: str | None) -> Ask:
    """Return an execution whose events are sent as they come."""
    body = {"program_id": program_id, "inputs": dict(inputs), "mode": str(mode)}
    body |= _given({"timeout": timeout, "session_id": session_id})
    return _post("/execute/stream", body, repeatable=False, timeout=_patience(timeout))


def clear_cache(program_id: str | None) -> Ask:
    """Return the request that forgets results."""
    return _post("/cache/clear", _given({"program_id": program_id}), repeatable=True)


def get(path: str, *parts: str) -> Ask:
    """Return a reading request; `parts` are names that are quoted."""
    return Ask("GET", "/".join([path, *(quote(part, safe="") for part in parts)]))


def cancel(batch_id: str) -> Ask:
    """Return the request that stops a job."""
    return _post(f"/batch/{quote(batch_id, safe='')}/cancel", {}, repeatable=True)


def _keyed(path: str, body: dict[str, Any], timeout: float | None, more: dict[str, Any], key: str | None) -> Ask:
    body |= _given({"timeout": timeout, **more})
    if key is not None and not _KEY.fullmatch(key):
        raise BridgeError("invalid_input", "an idempotency key has 1 to 256 printable ASCII characters and no space")
    ask = _post(path, body, repeatable=True, timeout=_patience(timeout))
    return Ask(
        ask.method, path, ask.body, {**ask.headers, "Idempotency-Key": key or uuid.uuid4().hex}, True, ask.timeout
    )


def _post(path: str, body: dict[str, Any], *, repeatable: bool, timeout: float | None = None) -> Ask:
    sent = _written(body)
    return Ask("POST", path, sent, {"Content-Type": "application/json"}, repeatable, timeout)


def _written(body: dict[str, Any]) -> bytes:
    try:
        sent = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        sent = None  # it holds something that JSON lacks
    try:
        return sent if sent is not None and b'"$type"' not in sent else wire_json.encode(body)
    except (BridgeError, RecursionError) as error:
        raise BridgeError("invalid_input", f"the request cannot be written as JSON: {error}") from None


def _patience(timeout: float | None) -> float | None:
    return None if timeout is None else timeout + _MARGIN_S


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


__all__ = [
    "PREFIX",
    "Ask",
    "authorization",
    "batch",
    "cancel",
    "check_base_url",
    "clear_cache",
    "execute",
    "get",
    "job",
    "stream",
]
