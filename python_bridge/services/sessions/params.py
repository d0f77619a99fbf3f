"""What the operations of sessions take, as `proto/PROTOCOL.md` (section Sessions) lists it."""

from dataclasses import dataclass
from typing import Any

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import MAX_NAME, is_name


@dataclass(slots=True)
class OpenParams:
    session: str | None = None
    lm: str | None = None
    adapter: str | None = None
    variables: dict[str, Any] | None = None
    programs: list[Any] | None = None
    limits: dict[str, Any] | None = None


@dataclass(slots=True)
class SessionParams:
    session: str


@dataclass(slots=True)
class ListParams:
    after: str | None = None
    limit: int = 100


@dataclass(slots=True)
class GetParams:
    session: str
    names: list[Any] | None = None


@dataclass(slots=True)
class PutParams:
    session: str
    variables: dict[str, Any] | None = None
    delete: list[Any] | None = None
    lm: str | None = None
    adapter: str | None = None
    programs: list[Any] | None = None
    drop_programs: list[Any] | None = None


@dataclass(slots=True)
class HistoryParams:
    session: str
    after: int | None = None
    limit: int = 1_000


@dataclass(slots=True)
class AppendParams:
    session: str
    entries: list[Any]


@dataclass(slots=True)
class TrimParams:
    session: str
    keep: int


@dataclass(slots=True)
class ImportParams:
    document: dict[str, Any]
    session: str | None = None


@dataclass(slots=True)
class ProgramEntry:
    program: dict[str, Any]
    state: dict[str, Any] | None = None


def check_name(value: Any, what: str) -> str:
    """Return a name that can be stored and shown.

    Raises:
        BridgeError: `invalid_request` for one that is empty, too long, or holds control characters.
    """
    if is_name(value):
        return value
    raise BridgeError("invalid_request", f"{what} must be 1 to {MAX_NAME} printable characters, it is {value!r:.80}")


def check_names(values: list[Any] | None, what: str) -> list[str]:
    """Return a list of names; ``None`` is none."""
    return [check_name(value, f"{what}[{index}]") for index, value in enumerate(values or [])]


def check_range(value: int, low: int, high: int, what: str) -> int:
    """Return an integer within bounds.

    Raises:
        BridgeError: `invalid_request`.
    """
    if low <= value <= high:
        return value
    raise BridgeError("invalid_request", f"{what} must be an integer from {low} to {high}, it is {value}")


__all__ = [
    "AppendParams",
    "GetParams",
    "HistoryParams",
    "ImportParams",
    "ListParams",
    "OpenParams",
    "ProgramEntry",
    "PutParams",
    "SessionParams",
    "TrimParams",
    "check_name",
    "check_names",
    "check_range",
]
