"""Sessions over a store: who owns them, in which order calls change them, and what was answered already."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from python_bridge.errors import BridgeError
from python_bridge.services.call import settling
from python_bridge.services.sessions.answers import same_answer
from python_bridge.services.sessions.changes import change_of, created_row
from python_bridge.services.sessions.clock import SteadyClock
from python_bridge.services.sessions.codec import encode, encode_document, entry_row, read_state, text_size
from python_bridge.services.sessions.limits import SessionSettings
from python_bridge.services.sessions.owned import Owned, OwnedSessions
from python_bridge.services.sessions.refs import Ref
from python_bridge.services.sessions.state import SessionState
from python_bridge.services.sessions.turns import Turns
from python_bridge.store.rows import MAX_DIGESTS, AnswerRow, SessionRow

if TYPE_CHECKING:  # SQLAlchemy comes with it, which a worker without sessions does not need
    from python_bridge.store.sessions import SessionStore

_TRUSTED_MS = 1_000  # a session is asked after before a call when it was idle for longer
_PURE_TRIES = 5
Work = Callable[[SessionState], Awaitable[tuple[SessionState, Any]]]
"""Takes a session and gives it changed, with the result of the call."""


class SessionTakenOver(BridgeError):
    """Another worker has the session now; nothing was changed."""

    def __init__(self, session: str) -> None:
        text = f"session {session!r} was taken over by another worker while the call ran; repeat the call"
        super().__init__("conflict", text, retry_after=0.02)


class SessionManager:
    """The sessions of one worker.

    Args:
        owner: name of this worker's incarnation; it is for people, the epoch decides.
    """

    def __init__(
        self, store: "SessionStore", settings: SessionSettings, *, owner: str, clock: SteadyClock | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or SteadyClock()
        self.turns = Turns(settings.max_waiting)
        self._store = store
        self._owner = owner
        self._owned = OwnedSessions(settings.max_owned, settings.max_owned_bytes)

    async def open(self, state: SessionState, ref: Ref, result: Callable[[SessionState], Any]) -> Any:
        """Make a session and return `result` of it, or what the same request was answered before.

        Raises:
            BridgeError: `conflict` when the id is taken or the key was used for another request; `limit_exceeded`.
        """
        document = encode_document(state)
        _check_size(state, text_size(document))
        answered = result(state)
        answer = self._answer_row(ref, answered)
        row = created_row(state, self._owner, text_size(document))
        entries = tuple(entry_row(entry) for entry in state.history.entries)
        key = (state.tenant, state.id)
        async with self.turns.take(key, ref.within):
            with settling():
                created = await self._store.create(
                    row, document, entries, max_sessions=self.settings.max_sessions, answer=answer
                )
            if created.outcome == "answered" and created.answer is not None:
                return same_answer(ref, created.answer)
            if created.outcome != "created":
                text = f"there is a session {state.id!r} already; attach to it, or open one with another id"
                raise BridgeError("conflict", text, retryable=False)
            self._owned.keep(key, Owned(state, 1, 0, text_size(document), {}, complete=True))
        return answered

    async def run(self, ref: Ref, work: Work, *, pure: bool = False) -> Any:
        """Give `work` its turn on the session; commit what it made of it, then return its result.

        Work that fails or is cancelled changes nothing. A request that was answered before is answered the same.

        Args:
            pure: the work does nothing but make a new state, so that it may be done again on a newer one.

        Raises:
            BridgeError: `not_found`; `conflict` when another worker took the session over, the call is nested in
                one on the same session, or the key was used for another request; what the work or the store raises.
        """
        async with self.turns.take(ref.key, ref.within):
            for _ in range(_PURE_TRIES - 1 if pure else 0):
                try:
                    return await self._run(ref, work)
                except SessionTakenOver:
                    await asyncio.sleep(random.uniform(0, 0.01))
            return await self._run(ref, work)

    async def _run(self, ref: Ref, work: Work) -> Any:
        owned = await self._own(ref)
        try:
            if ref.idempotency_key is not None and (answer := await self._find_answer(ref, owned)) is not None:
                self._owned.keep(ref.key, owned)
                return same_answer(ref, answer)
            state, result = await work(owned.state.touched(self.clock.now()))
        except BaseException:
            self._owned.keep(ref.key, owned)
            raise
        self._owned.keep(ref.key, await self._commit(ref, owned, state, result))
        return result

    async def close(self, ref: Ref, result: Callable[[bool], Any]) -> Any:
        """Delete a session after the calls before it; `result` gets whether there was one."""
        async with self.turns.take(ref.key, ref.within):
            self._owned.take(ref.key)
            if ref.idempotency_key is not None:
                key, now = ref.idempotency_key, self.clock.now()
                if (answer := await self._store.answer(*ref.key, key, now)) is not None:
                    return same_answer(ref, answer)
            row = await self._store.get(*ref.key, self.clock.now())
            answered = result(row is not None)
            with settling():
                await self._store.delete(*ref.key, self._answer_row(ref, answered))
            return answered

    async def view(self, tenant: str, session: str) -> tuple[SessionState, SessionRow]:
        """Return a session as it was committed last, without waiting for calls under way and without owning it.

        Raises:
            BridgeError: `not_found`.
        """
        found = await self._store.snapshot(tenant, session, self.clock.now())
        if found is None:
            raise _not_found(session)
        row, document, entries = found
        return read_state(row, document, entries), row

    async def page(self, tenant: str, after: str, limit: int) -> list[SessionRow]:
        """Return the tenant's sessions whose id follows `after`, by id."""
        return await self._store.page(tenant, after=after, limit=limit, now=self.clock.now())

    async def sweep(self) -> int:
        """Delete what has expired; return how many sessions went."""
        now, swept = self.clock.now(), 0
        self._owned.drop_expired(now)
        while (count := await self._store.sweep(now)) > 0:
            swept += count
        return swept

    @property
    def owned_sessions(self) -> int:
        """How many sessions this worker keeps in memory."""
        return len(self._owned)

    async def _own(self, ref: Ref) -> Owned:
        now = self.clock.now()
        owned = self._owned.take(ref.key)
        if owned is not None and await self._still_owns(owned, now):
            return owned
        claim = await self._store.claim(*ref.key, self._owner, now)
        if claim is None:
            raise _not_found(ref.session)
        row = claim.row
        state = read_state(row, claim.state, await self._store.entries(row))
        return Owned(state, row.epoch, row.version, text_size(claim.state), claim.digests, claim.complete)

    async def _still_owns(self, owned: Owned, now: int) -> bool:
        """Whether the session need not be read again. The commit decides; this only spares work that would be lost."""
        state = owned.state
        if state.expires_at <= now:
            return False
        if now - state.updated_at < _TRUSTED_MS:
            return True
        return await self._store.is_at(state.tenant, state.id, now, epoch=owned.epoch, version=owned.version)

    async def _find_answer(self, ref: Ref, owned: Owned) -> AnswerRow | None:
        key, now = ref.idempotency_key or "", self.clock.now()
        # The owner knows every key: whoever else had written one would have taken the session over.
        known = owned.digests.get(key)
        if known is None and owned.complete:
            return None
        return await self._store.answer(*ref.key, key, now)

    async def _commit(self, ref: Ref, owned: Owned, state: SessionState, result: Any) -> Owned:
        document = None if state.same_document(owned.state) else encode_document(state)
        size = owned.document_size if document is None else text_size(document)
        _check_size(state, size)
        answer = self._answer_row(ref, result)
        change = change_of(owned, state, document, size, answer)
        with settling():
            if not await self._store.commit(change):
                raise SessionTakenOver(state.id)
        owned.state, owned.version, owned.document_size = state, owned.version + 1, size
        if answer is not None:
            owned.digests, owned.complete = _with_digest(owned, answer, self.clock.now())
        return owned

    def _answer_row(self, ref: Ref, result: Any) -> AnswerRow | None:
        if ref.idempotency_key is None:
            return None
        return AnswerRow(ref.idempotency_key, ref.digest, encode(result), self.clock.now() + self.settings.answers_ms)


def _with_digest(owned: Owned, answer: AnswerRow, now: int) -> tuple[dict[str, tuple[str, int]], bool]:
    digests = owned.digests
    digests[answer.key] = (answer.digest, answer.expires_at)
    if len(digests) <= MAX_DIGESTS:
        return digests, owned.complete
    alive = {key: kept for key, kept in digests.items() if kept[1] > now}
    if len(alive) > MAX_DIGESTS // 2:  # too many hold: forget them all, and ask the store for each
        return {}, False
    return alive, owned.complete


def _check_size(state: SessionState, document_size: int) -> None:
    size = document_size + state.history.size
    if size > state.limits.max_bytes:
        text = f"session {state.id!r} would take {size} bytes, above its limit of {state.limits.max_bytes} (max_bytes)"
        raise BridgeError(
            "limit_exceeded", f"{text}; delete variables or trim the history", details={"limit": "max_bytes"}
        )


def _not_found(session: str) -> BridgeError:
    return BridgeError("not_found", f"no session {session[:80]!r}: it was never opened, was closed, or has expired")


__all__ = ["Ref", "SessionManager", "SessionTakenOver", "Work"]
