"""Rows of the session tables. Times are milliseconds since 1970, bodies JSON text; no tenant is the tenant ``""``."""

from dataclasses import dataclass

MAX_DIGESTS = 4_096
"""Keys of answers that a claim brings along; the others are looked up one by one."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session. `bytes` is the size of its state and its entries' bodies; entries are first_seq … next_seq - 1."""

    tenant: str
    id: str
    epoch: int
    owner: str
    version: int
    lm: str | None
    adapter: str | None
    first_seq: int
    next_seq: int
    bytes: int
    created_at: int
    updated_at: int
    expires_at: int
    usage: str


@dataclass(slots=True)
class EntryRow:
    """One entry of a session's history."""

    seq: int
    body: str
    tokens: int
    at: int


@dataclass(slots=True)
class AnswerRow:
    """What was answered to a request with an idempotency key; `digest` is the hash of its method and params."""

    key: str
    digest: str
    body: str
    expires_at: int


@dataclass(slots=True)  # not frozen: one is made for every call, and freezing takes most of the time
class Change:
    """What one call makes of a session.

    Attributes:
        epoch, version: what the session must have, else the change is fenced off.
        state: ``None`` leaves it as it is.
        entries: those to add; those below `first_seq` go when `trims` is set.
        answer: stored with the change.
    """

    tenant: str
    id: str
    epoch: int
    version: int
    usage: str
    state: str | None
    lm: str | None
    adapter: str | None
    first_seq: int
    next_seq: int
    bytes: int
    updated_at: int
    expires_at: int
    entries: tuple[EntryRow, ...] = ()
    trims: bool = False
    answer: AnswerRow | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A session that was taken over, and the digests of its answers that still hold, by key.

    Attributes:
        state: the body of its state.
        complete: whether `digests` has all of them.
    """

    row: SessionRow
    state: str
    digests: dict[str, tuple[str, int]]
    complete: bool


__all__ = ["MAX_DIGESTS", "AnswerRow", "Change", "Claim", "EntryRow", "SessionRow"]
