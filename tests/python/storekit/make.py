"""Rows for tests."""

from typing import Any

from python_bridge.store.rows import AnswerRow, Change, EntryRow, SessionRow

FAR = 10**15


def row(session: str = "s", **changes: Any) -> SessionRow:
    values: dict[str, Any] = {
        "tenant": "t",
        "id": session,
        "epoch": 1,
        "owner": "w1",
        "version": 0,
        "lm": None,
        "adapter": None,
        "first_seq": 0,
        "next_seq": 0,
        "bytes": 2,
        "created_at": 1_000,
        "updated_at": 1_000,
        "expires_at": FAR,
        "usage": "{}",
    }
    return SessionRow(**{**values, **changes})


def change(of: SessionRow, **changes: Any) -> Change:
    names = ("tenant", "id", "epoch", "version", "usage", "lm", "adapter", "first_seq", "next_seq", "bytes")
    values: dict[str, Any] = {name: getattr(of, name) for name in (*names, "updated_at", "expires_at")}
    return Change(**{**values, "state": None, **changes})


def entry(seq: int, body: str = '{"q":1}') -> EntryRow:
    return EntryRow(seq=seq, body=body, tokens=3, at=1_000)


def answer(key: str, body: str = "1", expires_at: int = FAR) -> AnswerRow:
    return AnswerRow(key=key, digest="d", body=body, expires_at=expires_at)
