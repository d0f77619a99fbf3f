"""Sessions as clients see them: descriptions, listings, and documents for export and import."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import is_name
from python_bridge.services.sessions.codec import decode, encode
from python_bridge.services.sessions.history import Entry, History
from python_bridge.services.sessions.limits import SessionLimits
from python_bridge.services.sessions.state import SessionProgram, SessionState
from python_bridge.services.sessions.turns import SessionKey
from python_bridge.services.sessions.usage import Usage
from python_bridge.store.rows import SessionRow

DOCUMENT_FORMAT = 1
_COUNTS = frozenset({"calls", "lm_calls", "prompt_tokens", "completion_tokens", "total_tokens"})
_MAX_COUNT = 2**53  # sums stay far below what a column holds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(milliseconds: int) -> datetime:
    """Return a time of the store as a value."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def describe(state: SessionState) -> dict[str, Any]:
    """Return the description of a session: what it is, without the values that it holds."""
    history = state.history
    return {
        "session": state.id,
        "lm": state.lm,
        "adapter": state.adapter,
        "variables": list(state.variables),
        "programs": list(state.programs),
        "history": {**_history_counts(history), "tokens": history.tokens, "bytes": history.size},
        "usage": state.usage.to_map(),
        "limits": state.limits.to_map(),
        "created_at": moment(state.created_at),
        "updated_at": moment(state.updated_at),
        "expires_at": moment(state.expires_at),
    }


def _history_counts(history: History) -> dict[str, int]:
    return {"entries": len(history.entries), "first": history.first_seq, "next": history.next_seq}


def history_position(history: History) -> dict[str, int]:
    """Return where a history stands: how many entries, the first's number and the next one's."""
    return _history_counts(history)


def list_item(row: SessionRow) -> dict[str, Any]:
    """Return a session in a listing."""
    return {
        "session": row.id,
        "lm": row.lm,
        "adapter": row.adapter,
        "entries": row.next_seq - row.first_seq,
        "bytes": row.bytes,
        "usage": decode(row.usage),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
        "expires_at": moment(row.expires_at),
    }


def show_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry of a history."""
    return {"seq": entry.seq, "at": moment(entry.at), "fields": entry.fields, "tokens": entry.tokens}


def export_document(state: SessionState) -> dict[str, Any]:
    """Return a session whole, as data that `import_document` reads."""
    return {
        "format": DOCUMENT_FORMAT,
        "session": state.id,
        "lm": state.lm,
        "adapter": state.adapter,
        "variables": dict(state.variables),
        "programs": [{"program": kept.program, "state": kept.state} for kept in state.programs.values()],
        "history": [{"at": moment(e.at), "fields": e.fields, "tokens": e.tokens} for e in state.history.entries],
        "usage": state.usage.to_map(),
        "limits": state.limits.to_map(),
    }


def import_history(entries: Any, now: int, keep: int) -> History:
    """Return the newest `keep` entries of a document, numbered as if all had been appended.

    Raises:
        BridgeError: `invalid_request` for an entry of another shape.
    """
    items = _list(entries, "history")
    skipped = max(0, len(items) - keep)  # a longer history would be built only to be cut, with a copy for each entry
    history = History(next_seq=skipped)
    for index, item in enumerate(items[skipped:], skipped):
        fields = _map(_map(item, f"history[{index}]").get("fields"), f"history[{index}].fields")
        at, tokens = item.get("at"), item.get("tokens")
        milliseconds = _milliseconds(at, f"history[{index}].at") if isinstance(at, datetime) else now
        known = tokens if _is_count(tokens) else None
        history = history.append(fields, encode(fields), milliseconds, known)
    return history


def import_usage(values: Any) -> Usage:
    """Return the usage of a document.

    Raises:
        BridgeError: `invalid_request` for one of another shape, or for numbers that no usage can have.
    """
    members = _map(values, "usage")
    for name, value in members.items():
        if not (name == "by_model" or (name in _COUNTS and _is_count(value)) or (name == "cost" and _is_cost(value))):
            raise BridgeError("invalid_request", f"usage.{_plain(name)} of the document is not what an export gives")
    for model, counts in _map(members.get("by_model", {}), "usage.by_model").items():
        where = f"usage.by_model.{_plain(model)}"
        if not all(_is_count(count) for count in _map(counts, where).values()):
            raise BridgeError("invalid_request", f"{where} of the document must hold integers from 0 to {_MAX_COUNT}")
    return Usage.from_map(members)


def import_limits(values: Any, ceilings: SessionLimits) -> SessionLimits:
    """Return the limits of a document; ``None`` are those of the settings.

    Raises:
        BridgeError: `invalid_request` for limits of another shape, or above the ceilings.
    """
    return ceilings if values is None else ceilings.narrowed(_map(values, "limits"))


def import_document(
    document: dict[str, Any],
    key: SessionKey,
    programs: dict[str, SessionProgram],
    limits: SessionLimits,
    now: int,
) -> SessionState:
    """Return the session of a document under its new tenant and id, as new as `now`.

    Raises:
        BridgeError: `invalid_request` for a document of another shape or a newer format.
    """
    if document.get("format") is True or document.get("format") != DOCUMENT_FORMAT:
        text = f"a session's document has format {DOCUMENT_FORMAT}, this one has {document.get('format')!r:.40}"
        raise BridgeError("invalid_request", text)
    return SessionState(
        tenant=key[0],
        id=key[1],
        created_at=now,
        updated_at=now,
        lm=document.get("lm"),
        adapter=document.get("adapter"),
        variables=_map(document.get("variables", {}), "variables"),
        programs=programs,
        history=import_history(document.get("history", []), now, limits.history_entries).within(limits),
        usage=import_usage(document.get("usage", {})),
        limits=limits,
    )


def _milliseconds(at: datetime, what: str) -> int:
    # An offset can push a time over the ends of the calendar, from where it could never be shown again.
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    try:
        moment(milliseconds)
    except (ValueError, OverflowError):
        raise BridgeError("invalid_request", f"{what} of the document lies outside of the years 1 to 9999") from None
    return milliseconds


def _plain(name: str) -> str:
    return name if is_name(name) else f"{name!r:.80}"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_COUNT


def _is_cost(value: Any) -> bool:
    return _is_count(value) or (type(value) is float and math.isfinite(value) and value >= 0)


def _map(value: Any, what: str) -> dict[str, Any]:
    if type(value) is dict:
        return cast("dict[str, Any]", value)
    raise BridgeError("invalid_request", f"{what} of the document must be a map")


def _list(value: Any, what: str) -> list[Any]:
    if type(value) is list:
        return cast("list[Any]", value)
    raise BridgeError("invalid_request", f"{what} of the document must be a list")


__all__ = [
    "DOCUMENT_FORMAT",
    "describe",
    "export_document",
    "history_position",
    "import_document",
    "import_limits",
    "list_item",
    "moment",
    "show_entry",
]
