"""Calls outside of sessions that carry an idempotency key: answered once, and the same again on any worker."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from python_bridge.errors import BridgeError
from python_bridge.services.call import settling
from python_bridge.services.sessions.clock import SteadyClock
from python_bridge.services.sessions.codec import decode, encode, text_size
from python_bridge.services.sessions.limits import SessionSettings
from python_bridge.services.sessions.refs import Ref
from python_bridge.services.sessions.turns import Turns
from python_bridge.store.rows import AnswerRow

if TYPE_CHECKING:
    from python_bridge.store.sessions import SessionStore

_LOOK_EVERY = 256
_NO_SESSION = ""  # such answers lie beside those of `session.open`, whose keys are the tenant's as well


class Answers:
    """The answers that a tenant's keys have.

    A worker that dies between the work and its answer leaves none, and the repeated call works again. Nothing that was
    acknowledged is done twice.
    """

    def __init__(self, store: "SessionStore", settings: SessionSettings, clock: SteadyClock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._turns = Turns(settings.max_waiting)
        self._kept: LRUCache[str, list[int]] = LRUCache(maxsize=1024)

    async def once(self, ref: Ref, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the same request was answered before, or what `work` gives now. Errors are not kept.

        Args:
            ref: with an idempotency key.

        Raises:
            BridgeError: `conflict` when the key was used for another request; `limit_exceeded` when the tenant has as
                many answers as it may, or the answer is too large; what the work or the store raises.
        """
        key = ref.idempotency_key or ""
        async with self._turns.take((ref.tenant, key)):
            if (answer := await self._store.answer(ref.tenant, _NO_SESSION, key, self._clock.now())) is not None:
                return same_answer(ref, answer)
            await self._check_room(ref.tenant)
            result = await work()
            answer = AnswerRow(key, ref.digest, encode(result), self._clock.now() + self._settings.answers_ms)
            self._check_size(answer)
            with settling():
                earlier = await self._store.remember(ref.tenant, answer, self._clock.now())
            return result if earlier is None else same_answer(ref, earlier)

    async def _check_room(self, tenant: str) -> None:
        """Count now and then what the tenant has; other workers may add some in between."""
        kept = self._kept.get(tenant)
        if kept is None or kept[1] >= _LOOK_EVERY or kept[0] + kept[1] >= self._settings.max_answers:
            kept = self._kept[tenant] = [await self._store.count_answers(tenant, self._clock.now()), 0]
        kept[1] += 1
        if kept[0] + kept[1] > self._settings.max_answers:
            text = f"{kept[0]} answers are kept for the idempotency keys of the tenant, as many as there may be"
            wait = f"they go {self._settings.answers_ms // 60_000} minutes after they were given"
            raise BridgeError("limit_exceeded", f"{text}; {wait}", details={"limit": "max_answers"})

    def _check_size(self, answer: AnswerRow) -> None:
        most, size = self._settings.limits.max_bytes, text_size(answer.body)
        if size > most:
            text = f"the answer takes {size} bytes, and {most} can be kept for an idempotency key (session_max_bytes)"
            raise BridgeError("limit_exceeded", f"{text}; call without a key", details={"limit": "max_bytes"})


def same_answer(ref: Ref, answer: AnswerRow) -> Any:
    """Return the kept answer to the same request.

    Raises:
        BridgeError: `conflict` when it was given to another one.
    """
    if answer.digest != ref.digest:
        text = f"the idempotency key {ref.idempotency_key!r} was used for another request; use a new key for each"
        raise BridgeError("conflict", text, retryable=False)
    return decode(answer.body)


__all__ = ["Answers", "same_answer"]
