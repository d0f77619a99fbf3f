"""Sessions in a store: every method is one transaction."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

from python_bridge.errors import BridgeError
from python_bridge.store import session_sql as sql
from python_bridge.store.rows import MAX_DIGESTS, AnswerRow, Change, Claim, EntryRow, SessionRow
from python_bridge.store.statements import Transaction
from python_bridge.store.store import Store

HEAVY_BYTES = 256 * 1024
"""From this size on, values are written and read in a thread."""
_SWEEP_ROWS = 50


class Created(NamedTuple):
    """What came of a new session: it is there, its id was taken, or the key has an answer already."""

    outcome: Literal["created", "exists", "answered"]
    answer: AnswerRow | None = None


class SessionStore:
    """The rows of sessions, their history and their answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self,
        row: SessionRow,
        state: str,
        entries: tuple[EntryRow, ...] = (),
        *,
        max_sessions: int,
        answer: AnswerRow | None = None,
    ) -> Created:
        """Insert a session; `answer` is kept under the session ``""``, as its key was chosen before the session was.

        Raises:
            BridgeError: `limit_exceeded` when the tenant has `max_sessions` already.
        """

        def operation(tx: Transaction) -> Created:
            return _create(tx, row, state, entries, max_sessions, answer)

        return await self._store.write(operation, heavy=row.bytes > HEAVY_BYTES)

    async def claim(self, tenant: str, session: str, owner: str, now: int) -> Claim | None:
        """Take the session over: its epoch grows by one. ``None`` when there is none, or none that is alive."""
        return await self._store.write(lambda tx: _claim(tx, tenant, session, owner, now))

    async def commit(self, change: Change) -> bool:
        """Write a change; false, and nothing written, when the session has another epoch or version by now."""
        size = len(change.state or "") + sum(len(entry.body) for entry in change.entries)
        return await self._store.write(lambda tx: _commit(tx, change), heavy=size > HEAVY_BYTES)

    async def delete(self, tenant: str, session: str, answer: AnswerRow | None = None) -> bool:
        """Delete a session with all that belongs to it but `answer`; false when there was none."""

        def operation(tx: Transaction) -> bool:
            found = _delete(tx, tenant, session)
            if answer is not None:
                tx.run(sql.PUT_ANSWER, _answer_values(tenant, session, answer))
            return found

        return await self._store.write(operation)

    async def get(self, tenant: str, session: str, now: int) -> SessionRow | None:
        """Return the row of a session that is alive, without taking it over."""
        return await self._store.read(lambda tx: _get(tx, tenant, session, now), single=True)

    async def is_at(self, tenant: str, session: str, now: int, *, epoch: int, version: int) -> bool:
        """Whether a session is alive and as whoever asks knows it."""
        values = {"p_tenant": tenant, "p_id": session, "p_now": now, "p_epoch": epoch, "p_version": version}
        found = await self._store.read(lambda tx: tx.run(sql.SESSION_IS_AT, values).fetchone(), single=True)
        return found is not None

    async def page(self, tenant: str, *, after: str, limit: int, now: int) -> list[SessionRow]:
        """Return the tenant's living sessions whose id follows `after`, by id."""
        values = {"p_tenant": tenant, "p_after": after, "p_limit": limit, "p_now": now}
        rows = await self._store.read(lambda tx: tx.run(sql.LIST_SESSIONS, values).fetchall(), heavy=limit > 100)
        return [SessionRow(*row) for row in rows]

    async def entries(self, row: SessionRow, first: int | None = None, limit: int | None = None) -> list[EntryRow]:
        """Return entries of a session's history, oldest first, from sequence number `first` on."""
        start = row.first_seq if first is None else max(first, row.first_seq)
        end = row.next_seq if limit is None else min(row.next_seq, start + limit)
        values = {"p_tenant": row.tenant, "p_id": row.id, "p_first": start, "p_next": end}

        def operation(tx: Transaction) -> list[EntryRow]:
            return [EntryRow(*entry) for entry in tx.run(sql.SELECT_ENTRIES, values).fetchall()]

        return await self._store.read(operation, heavy=row.bytes > HEAVY_BYTES)

    async def snapshot(self, tenant: str, session: str, now: int) -> tuple[SessionRow, str, list[EntryRow]] | None:
        """Return a session whole, as it is at one moment."""

        def operation(tx: Transaction) -> tuple[SessionRow, str, list[EntryRow]] | None:
            if (row := _get(tx, tenant, session, now)) is None:
                return None
            own = {"p_tenant": tenant, "p_id": session}
            state = tx.run(sql.SELECT_STATE, own).fetchone()[0]
            bounds = {"p_first": row.first_seq, "p_next": row.next_seq}
            found = tx.run(sql.SELECT_ENTRIES, {**own, **bounds}).fetchall()
            return row, state, [EntryRow(*entry) for entry in found]

        row = await self.get(tenant, session, now)
        return None if row is None else await self._store.read(operation, heavy=row.bytes > HEAVY_BYTES)

    async def answer(self, tenant: str, session: str, key: str, now: int) -> AnswerRow | None:
        """Return the answer that an idempotency key has, while it holds."""
        values = {"p_tenant": tenant, "p_id": session, "p_key": key, "p_now": now}
        found = await self._store.read(lambda tx: tx.run(sql.SELECT_ANSWER, values).fetchone(), single=True)
        return None if found is None else AnswerRow(*found)

    async def remember(self, tenant: str, answer: AnswerRow, now: int) -> AnswerRow | None:
        """Keep an answer that belongs to no session; return the one that its key has already, and keep that."""

        def operation(tx: Transaction) -> AnswerRow | None:
            return None if _reserve_answer(tx, tenant, answer, now) else _find_answer(tx, tenant, answer.key, now)

        return await self._store.write(operation, heavy=len(answer.body) > HEAVY_BYTES)

    async def count_answers(self, tenant: str, now: int) -> int:
        """Return how many answers a tenant has that belong to no session."""
        values = {"p_tenant": tenant, "p_id": "", "p_now": now}
        return await self._store.read(lambda tx: tx.run(sql.COUNT_ANSWERS, values).fetchone()[0])

    async def sweep(self, now: int) -> int:
        """Delete some expired sessions and all expired answers; return how many sessions went."""
        rows = await self._store.read(
            lambda tx: tx.run(sql.EXPIRED_SESSIONS, {"p_now": now, "p_limit": _SWEEP_ROWS}).fetchall(), heavy=True
        )

        def operation(tx: Transaction) -> int:
            tx.run(sql.DELETE_EXPIRED_ANSWERS, {"p_now": now})
            return sum(_delete_expired(tx, tenant, session, now) for tenant, session, _size in rows)

        return await self._store.write(operation, heavy=sum(size for _, _, size in rows) > HEAVY_BYTES)


def _create(
    tx: Transaction,
    row: SessionRow,
    state: str,
    entries: Iterable[EntryRow],
    max_sessions: int,
    answer: AnswerRow | None,
) -> Created:
    now = row.created_at
    # The answer of an open is kept apart from the session, whose id the caller may not know yet.
    if answer is not None and (earlier := _find_answer(tx, row.tenant, answer.key, now)) is not None:
        return Created("answered", earlier)
    count: int = tx.run(sql.COUNT_SESSIONS, {"p_tenant": row.tenant, "p_now": now}).fetchone()[0]
    if count >= max_sessions:
        text = f"the tenant has {count} sessions, as many as it may (max_sessions); close some or raise the limit"
        raise BridgeError("limit_exceeded", text, details={"limit": "max_sessions"})
    if answer is not None and not _reserve_answer(tx, row.tenant, answer, now):
        return Created("answered", _find_answer(tx, row.tenant, answer.key, now))
    _delete_expired(tx, row.tenant, row.id, now)
    values = {f"p_{name}": value for name, value in asdict(row).items()}
    if tx.run(sql.INSERT_SESSION, values).rowcount == 0:
        if answer is not None:
            tx.run(sql.DELETE_ANSWER, {"p_tenant": row.tenant, "p_id": "", "p_key": answer.key})
        return Created("exists")
    tx.run(sql.INSERT_STATE, {"p_tenant": row.tenant, "p_session": row.id, "p_body": state})
    _insert_entries(tx, row.tenant, row.id, entries)
    return Created("created")


def _find_answer(tx: Transaction, tenant: str, key: str, now: int) -> AnswerRow | None:
    found = tx.run(sql.SELECT_ANSWER, {"p_tenant": tenant, "p_id": "", "p_key": key, "p_now": now}).fetchone()
    return None if found is None else AnswerRow(*found)


def _reserve_answer(tx: Transaction, tenant: str, answer: AnswerRow, now: int) -> bool:
    tx.run(sql.DELETE_EXPIRED_ANSWER, {"p_tenant": tenant, "p_id": "", "p_key": answer.key, "p_now": now})
    return tx.run(sql.INSERT_ANSWER, _answer_values(tenant, "", answer)).rowcount > 0


def _claim(tx: Transaction, tenant: str, session: str, owner: str, now: int) -> Claim | None:
    own = {"p_tenant": tenant, "p_id": session}
    found = tx.run(sql.CLAIM_SESSION, {**own, "p_owner": owner, "p_now": now}).fetchone()
    if found is None:
        return None
    state: str = tx.run(sql.SELECT_STATE, own).fetchone()[0]
    limited = {**own, "p_now": now, "p_limit": MAX_DIGESTS + 1}
    rows: list[Any] = tx.run(sql.SELECT_DIGESTS, limited).fetchall()
    digests = {key: (digest, expires_at) for key, digest, expires_at in rows[:MAX_DIGESTS]}
    return Claim(SessionRow(*found), state, digests, complete=len(rows) <= MAX_DIGESTS)


def _commit(tx: Transaction, change: Change) -> bool:
    own = {"p_tenant": change.tenant, "p_id": change.id}
    values = {
        **own,
        "p_epoch": change.epoch,
        "p_version": change.version,
        "p_usage": change.usage,
        "p_lm": change.lm,
        "p_adapter": change.adapter,
        "p_first_seq": change.first_seq,
        "p_next_seq": change.next_seq,
        "p_bytes": change.bytes,
        "p_updated_at": change.updated_at,
        "p_expires_at": change.expires_at,
    }
    if tx.run(sql.UPDATE_SESSION, values).rowcount == 0:
        return False
    if change.state is not None:
        tx.run(sql.UPDATE_STATE, {**own, "p_state": change.state})
    _insert_entries(tx, change.tenant, change.id, change.entries)
    if change.trims:
        tx.run(sql.DELETE_OLD_ENTRIES, {**own, "p_first_seq": change.first_seq})
    if change.answer is not None:
        tx.run(sql.PUT_ANSWER, _answer_values(change.tenant, change.id, change.answer))
    return True


def _get(tx: Transaction, tenant: str, session: str, now: int) -> SessionRow | None:
    row = tx.run(sql.SELECT_SESSION, {"p_tenant": tenant, "p_id": session, "p_now": now}).fetchone()
    return None if row is None else SessionRow(*row)


def _delete(tx: Transaction, tenant: str, session: str) -> bool:
    own = {"p_tenant": tenant, "p_id": session}
    found = tx.run(sql.DELETE_SESSION, own).rowcount > 0
    _delete_belongings(tx, own)
    return found


def _delete_expired(tx: Transaction, tenant: str, session: str, now: int) -> bool:
    own = {"p_tenant": tenant, "p_id": session}
    if tx.run(sql.DELETE_EXPIRED_SESSION, {**own, "p_now": now}).rowcount == 0:
        return False
    _delete_belongings(tx, own)
    return True


def _delete_belongings(tx: Transaction, own: dict[str, str]) -> None:
    for statement in (sql.DELETE_STATE, sql.DELETE_ENTRIES, sql.DELETE_ANSWERS):
        tx.run(statement, own)


def _insert_entries(tx: Transaction, tenant: str, session: str, entries: Iterable[EntryRow]) -> None:
    for entry in entries:
        values = {"p_seq": entry.seq, "p_body": entry.body, "p_tokens": entry.tokens, "p_at": entry.at}
        tx.run(sql.INSERT_ENTRY, {"p_tenant": tenant, "p_session": session, **values})


def _answer_values(tenant: str, session: str, answer: AnswerRow) -> dict[str, Any]:
    own = {"p_tenant": tenant, "p_session": session, "p_key": answer.key}
    return {**own, "p_digest": answer.digest, "p_body": answer.body, "p_expires_at": answer.expires_at}


__all__ = ["HEAVY_BYTES", "Created", "SessionStore"]
