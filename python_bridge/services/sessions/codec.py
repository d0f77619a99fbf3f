"""Sessions ⇄ text: JSON with the tags of the wire, so that every value survives and a person can read it."""

import hashlib
from typing import Any, cast

from python_bridge.errors import BridgeError
from python_bridge.services.sessions.history import Entry, History
from python_bridge.services.sessions.limits import SessionLimits
from python_bridge.services.sessions.state import SessionProgram, SessionState
from python_bridge.services.sessions.usage import Usage
from python_bridge.store.rows import EntryRow, SessionRow
from python_bridge.wire import json as wire_json
from python_bridge.wire.values import Limits

# A value of the greatest depth that the wire lets in lies some levels below the top of a document.
_LIMITS = Limits(max_depth=80, attachment_bytes=2**62)


def encode(value: Any) -> str:
    """Return a value as text.

    Raises:
        BridgeError: `invalid_input` for what is no value, `limit_exceeded`.
    """
    return wire_json.encode(value, _LIMITS).decode()


def decode(text: str) -> Any:
    """Return the value of a text that `encode` gave.

    Raises:
        BridgeError: `internal`: the store holds what this version can't read.
    """
    try:
        return wire_json.decode(text.encode(), _LIMITS)
    except BridgeError as error:
        raise BridgeError("internal", f"the store holds a text that can't be read: {error.message}") from error


def encode_document(state: SessionState) -> str:
    """Return what is stored as one document: variables, programs and limits."""
    programs = {handle: {"program": kept.program, "state": kept.state} for handle, kept in state.programs.items()}
    return encode({"variables": state.variables, "programs": programs, "limits": state.limits.to_map()})


def read_state(row: SessionRow, document: str, entries: list[EntryRow]) -> SessionState:
    """Return the session of its rows."""
    values = cast("dict[str, Any]", decode(document))
    return SessionState(
        tenant=row.tenant,
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        lm=row.lm,
        adapter=row.adapter,
        variables=values["variables"],
        programs={handle: SessionProgram(**kept) for handle, kept in values["programs"].items()},
        history=read_history(entries, row.next_seq),
        usage=Usage.from_map(decode(row.usage)),
        limits=SessionLimits(**values["limits"]),
    )


def read_history(entries: list[EntryRow], next_seq: int) -> History:
    """Return the history of its rows."""
    read = tuple(read_entry(entry) for entry in entries)
    tokens, size = sum(entry.tokens for entry in read), sum(entry.size for entry in read)
    return History(read, next_seq, tokens, size)


def read_entry(row: EntryRow) -> Entry:
    """Return the entry of its row."""
    return Entry(row.seq, row.at, decode(row.body), row.body, row.tokens, text_size(row.body))


def entry_row(entry: Entry) -> EntryRow:
    """Return the row of an entry."""
    return EntryRow(entry.seq, entry.body, entry.tokens, entry.at)


def text_size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def digest(method: str, params: Any) -> str:
    """Return the hash by which a repeated request is told from another one with the same idempotency key."""
    return hashlib.sha256(wire_json.encode([method, params], _LIMITS)).hexdigest()


__all__ = [
    "decode",
    "digest",
    "encode",
    "encode_document",
    "entry_row",
    "read_entry",
    "read_history",
    "read_state",
    "text_size",
]
