"""The closed set of errors, read from `proto/errors.toml`: the one table that both languages share."""

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast, get_args

from python_bridge._spec import spec_path

ErrorKind = Literal[
    "invalid_request",
    "invalid_input",
    "signature_error",
    "not_found",
    "conflict",
    "unauthorized",
    "timeout",
    "cancelled",
    "overloaded",
    "limit_exceeded",
    "lm_error",
    "tool_error",
    "program_error",
    "worker_lost",
    "unavailable",
    "protocol_error",
    "internal",
]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
MAX_TEXT = 4_000
"""Characters of a text in an error; messages quote what came in, and that may be as long as a frame."""


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One row of `proto/errors.toml`.

    Attributes:
        code: JSON-RPC error code.
        http: HTTP status.
        grpc: gRPC status name.
        retryable: whether the same request may succeed later unchanged.
        hint: what the caller can do.
    """

    kind: ErrorKind
    code: int
    http: int
    grpc: str
    retryable: bool
    summary: str
    hint: str


@cache
def error_table() -> dict[str, ErrorSpec]:
    """Return every kind of error with its row, in the order of the file."""
    rows = tomllib.loads(spec_path("errors.toml").read_text("utf-8"))["error"]
    names = ErrorSpec.__dataclass_fields__
    return {row["kind"]: ErrorSpec(**{name: row[name] for name in names}) for row in rows}


class BridgeError(Exception):
    """An error of the closed set, ready to cross the wire.

    Args:
        kind: one of `ERROR_KINDS`.
        message: what happened, where, and what to do.
        retryable: overrides the table's value for this case.
        retry_after: seconds to wait before a retry.
        need: what the client must send first (``"program"``).
        details: plain data of protocol values: `problems`, `provider`, `status`, `limit`, …

    Attributes:
        traceback: text for debugging, set only by workers in debug mode.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        need: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        self.retryable = error_table()[kind].retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.need = need
        self.details: dict[str, Any] = details or {}
        self.traceback: str | None = None
        self._hint: str | None = None

    @property
    def spec(self) -> ErrorSpec:
        """The row of the table for this kind."""
        return error_table()[self.kind]

    @property
    def hint(self) -> str:
        """What the caller can do: what another side said, words that fit this case, or the table's for the kind."""
        return self._hint or _hint_of(self) or self.spec.hint

    def to_object(self) -> dict[str, Any]:
        """Return the JSON-RPC error object: `{code, message, data}` as in `proto/PROTOCOL.md`, section 4."""
        data: dict[str, Any] = {"kind": self.kind, "retryable": self.retryable, "hint": self.hint}
        optional = {
            "need": self.need,
            "retry_after": self.retry_after,
            "details": _cut(self.details) or None,
            "traceback": self.traceback,
        }
        data.update({name: value for name, value in optional.items() if value is not None})
        return {"code": self.spec.code, "message": _cut(self.message), "data": data}

    @classmethod
    def from_object(cls, error: dict[str, Any]) -> "BridgeError":
        """Read a JSON-RPC error object; an unknown kind becomes ``internal``."""
        data = _member(error, "data", dict) or {}
        kind = _member(data, "kind", str)
        read = cls(
            cast("ErrorKind", kind) if kind in ERROR_KINDS else "internal",
            str(error.get("message", "")),
            retryable=_member(data, "retryable", bool),
            retry_after=_member(data, "retry_after", (int, float)),
            need=_member(data, "need", str),
            details=_member(data, "details", dict),
        )
        read._hint = _cut(_member(data, "hint", str))
        return read


def _hint_of(error: BridgeError) -> str | None:
    """Return the hint for a case of a kind whose own hint speaks of several; ``None`` where it fits."""
    match error.kind:
        case "invalid_input" if "problems" not in error.details:
            return "Do as the message says: it names what is wrong and what may be given."
        case "not_found":
            return "Send program.put and repeat the request." if error.need == "program" else "Check the name."
        case "conflict" if error.retryable:
            return "Repeat the call: it is then applied to the newer state."
        case "conflict":
            return "Do as the message says; an id or idempotency key that is in use stays so."
        case "lm_error":
            return _hint_of_status(error.details.get("status"), error.retry_after)
        case _:
            return None


def _hint_of_status(status: Any, retry_after: float | None) -> str | None:
    match status:
        case 401 | 403:
            return "Check the key of the provider, and what it may use; keys stand in the worker's environment."
        case 429:
            wait = "a while" if retry_after is None else f"{retry_after:g} seconds"
            return f"Wait {wait} and repeat, or send fewer requests at a time: the provider limits their rate."
        case int() if status >= 500:
            return "Repeat the call later: the provider failed."
        case _:
            return None


def _cut(value: Any) -> Any:
    """Return plain data with texts of at most `MAX_TEXT` characters."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + "…"
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_cut(item) for item in cast("list[Any]", value)]
    return value


def _member(values: dict[str, Any], name: str, kind: Any) -> Any:
    """Return a member of the right type; a peer's wrong one counts as absent."""
    value = values.get(name)
    return value if isinstance(value, kind) else None


__all__ = ["ERROR_KINDS", "BridgeError", "ErrorKind", "ErrorSpec", "error_table"]
