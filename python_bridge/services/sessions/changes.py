"""What of a session goes to the store: the difference between two values of it."""

from python_bridge.services.sessions.codec import encode, entry_row
from python_bridge.services.sessions.owned import Owned
from python_bridge.services.sessions.state import SessionState
from python_bridge.store.rows import AnswerRow, Change, SessionRow


def change_of(
    owned: Owned, state: SessionState, document: str | None, document_size: int, answer: AnswerRow | None
) -> Change:
    """Return the change from the session as it is owned to `state`.

    Args:
        document: the new document, ``None`` when it stays.
    """
    before, history = owned.state.history, state.history
    count = min(history.next_seq - before.next_seq, len(history.entries))
    added = tuple(entry_row(entry) for entry in history.entries[len(history.entries) - count :])
    return Change(
        tenant=state.tenant,
        id=state.id,
        epoch=owned.epoch,
        version=owned.version,
        usage=encode(state.usage.to_map()),
        state=document,
        lm=state.lm,
        adapter=state.adapter,
        first_seq=history.first_seq,
        next_seq=history.next_seq,
        bytes=document_size + history.size,
        updated_at=state.updated_at,
        expires_at=state.expires_at,
        entries=added,
        trims=history.first_seq > before.first_seq,
        answer=answer,
    )


def created_row(state: SessionState, owner: str, document_size: int) -> SessionRow:
    """Return the row of a new session."""
    return SessionRow(
        tenant=state.tenant,
        id=state.id,
        epoch=1,
        owner=owner,
        version=0,
        lm=state.lm,
        adapter=state.adapter,
        first_seq=state.history.first_seq,
        next_seq=state.history.next_seq,
        bytes=document_size + state.history.size,
        created_at=state.created_at,
        updated_at=state.updated_at,
        expires_at=state.expires_at,
        usage=encode(state.usage.to_map()),
    )


__all__ = ["change_of", "created_row"]
