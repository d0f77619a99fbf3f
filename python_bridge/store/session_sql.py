"""The statements of sessions."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert  # SQLite's compiler reads its ON CONFLICT as well

from python_bridge.store.tables import answers, session_entries, session_states, sessions

COLUMNS = tuple(column.name for column in sessions.columns)


def _p(name: str) -> sa.BindParameter[object]:
    return sa.bindparam(f"p_{name}")


_ONE: sa.ColumnClause[int] = sa.literal_column("1")
_THIS = sa.and_(sessions.c.tenant == _p("tenant"), sessions.c.id == _p("id"))
_ALIVE = sessions.c.expires_at > _p("now")
_OWN_ENTRIES = sa.and_(session_entries.c.tenant == _p("tenant"), session_entries.c.session == _p("id"))
_OWN_ANSWERS = sa.and_(answers.c.tenant == _p("tenant"), answers.c.session == _p("id"))
_CHANGED = {
    "version": sessions.c.version + _ONE,
    **{
        name: _p(name)
        for name in ("usage", "lm", "adapter", "first_seq", "next_seq", "bytes", "updated_at", "expires_at")
    },
}
_UNCHANGED = sa.and_(_THIS, sessions.c.epoch == _p("epoch"), sessions.c.version == _p("version"))

SELECT_SESSION = sa.select(sessions).where(_THIS, _ALIVE)
SESSION_IS_AT = sa.select(_ONE).select_from(sessions).where(_UNCHANGED, _ALIVE)
CLAIM_SESSION = (
    sa.update(sessions)
    .where(_THIS, _ALIVE)
    .values(epoch=sessions.c.epoch + _ONE, owner=_p("owner"))
    .returning(*sessions.c)
)
UPDATE_SESSION = sa.update(sessions).where(_UNCHANGED).values(_CHANGED)
INSERT_SESSION = (
    insert(sessions)
    .values({name: _p(name) for name in COLUMNS})
    .on_conflict_do_nothing(index_elements=["tenant", "id"])
)
DELETE_SESSION = sa.delete(sessions).where(_THIS)
DELETE_EXPIRED_SESSION = sa.delete(sessions).where(_THIS, sessions.c.expires_at <= _p("now"))
COUNT_SESSIONS = sa.select(sa.func.count()).select_from(sessions).where(sessions.c.tenant == _p("tenant"), _ALIVE)
LIST_SESSIONS = (
    sa.select(sessions)
    .where(sessions.c.tenant == _p("tenant"), sessions.c.id > _p("after"), _ALIVE)
    .order_by(sessions.c.id)
    .limit(sa.bindparam("p_limit", type_=sa.Integer))
)
EXPIRED_SESSIONS = (
    sa.select(sessions.c.tenant, sessions.c.id, sessions.c.bytes)
    .where(sessions.c.expires_at <= _p("now"))
    .limit(sa.bindparam("p_limit", type_=sa.Integer))
)

_OWN_STATE = sa.and_(session_states.c.tenant == _p("tenant"), session_states.c.session == _p("id"))
SELECT_STATE = sa.select(session_states.c.body).where(_OWN_STATE)
INSERT_STATE = sa.insert(session_states).values({c.name: _p(c.name) for c in session_states.c})
UPDATE_STATE = sa.update(session_states).where(_OWN_STATE).values(body=_p("state"))
DELETE_STATE = sa.delete(session_states).where(_OWN_STATE)

SELECT_ENTRIES = (
    sa.select(session_entries.c.seq, session_entries.c.body, session_entries.c.tokens, session_entries.c.at)
    .where(_OWN_ENTRIES, session_entries.c.seq >= _p("first"), session_entries.c.seq < _p("next"))
    .order_by(session_entries.c.seq)
)
INSERT_ENTRY = sa.insert(session_entries).values({c.name: _p(c.name) for c in session_entries.c})
DELETE_ENTRIES = sa.delete(session_entries).where(_OWN_ENTRIES)
DELETE_OLD_ENTRIES = sa.delete(session_entries).where(_OWN_ENTRIES, session_entries.c.seq < _p("first_seq"))

SELECT_ANSWER = sa.select(answers.c.key, answers.c.digest, answers.c.body, answers.c.expires_at).where(
    _OWN_ANSWERS, answers.c.key == _p("key"), answers.c.expires_at > _p("now")
)
SELECT_DIGESTS = (
    sa.select(answers.c.key, answers.c.digest, answers.c.expires_at)
    .where(_OWN_ANSWERS, answers.c.expires_at > _p("now"))
    .order_by(answers.c.expires_at.desc())
    .limit(sa.bindparam("p_limit", type_=sa.Integer))
)
_NEW_ANSWER = insert(answers).values({c.name: _p(c.name) for c in answers.c})
INSERT_ANSWER = _NEW_ANSWER.on_conflict_do_nothing(index_elements=["tenant", "session", "key"])
PUT_ANSWER = _NEW_ANSWER.on_conflict_do_update(
    index_elements=["tenant", "session", "key"],
    set_={name: _NEW_ANSWER.excluded[name] for name in ("digest", "body", "expires_at")},
)
COUNT_ANSWERS = sa.select(sa.func.count()).select_from(answers).where(_OWN_ANSWERS, answers.c.expires_at > _p("now"))
DELETE_ANSWER = sa.delete(answers).where(_OWN_ANSWERS, answers.c.key == _p("key"))
DELETE_EXPIRED_ANSWER = sa.delete(answers).where(
    _OWN_ANSWERS, answers.c.key == _p("key"), answers.c.expires_at <= _p("now")
)
DELETE_ANSWERS = sa.delete(answers).where(_OWN_ANSWERS)
DELETE_EXPIRED_ANSWERS = sa.delete(answers).where(answers.c.expires_at <= _p("now"))
