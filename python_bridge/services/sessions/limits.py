"""What sessions may be at most."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from python_bridge.errors import BridgeError

_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of one session; those of the settings are its defaults and its ceilings.

    Attributes:
        ttl_ms: life from its opening on, whatever happens.
        idle_ms: life from its last use on.
        max_bytes: size of all that it holds, as JSON.
        history_entries, history_tokens, history_bytes: budget of the history; the oldest entries go when it is spent.
    """

    ttl_ms: int = 30 * _DAY_MS
    idle_ms: int = _DAY_MS
    max_bytes: int = 16 * 1024 * 1024
    history_entries: int = 1_000
    history_tokens: int = 1_000_000
    history_bytes: int = 8 * 1024 * 1024

    def narrowed(self, wanted: dict[str, Any]) -> "SessionLimits":
        """Return these limits with those of `wanted` in their place.

        Raises:
            BridgeError: `invalid_request` for a limit that is unknown, no positive integer, or above its ceiling.
        """
        ceilings = asdict(self)
        for name, value in wanted.items():
            if name not in ceilings:
                text = f"{name!r:.80} is no limit of a session; they are {', '.join(ceilings)}"
                raise BridgeError("invalid_request", text)
            if type(value) is not int or not 1 <= value <= ceilings[name]:
                text = f"limits.{name} must be an integer from 1 to {ceilings[name]}, it is {value!r:.80}"
                raise BridgeError("invalid_request", text)
        return replace(self, **wanted)

    def to_map(self) -> dict[str, int]:
        """Return the limits by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Settings of all sessions.

    Attributes:
        limits: defaults and ceilings of each session.
        max_sessions: sessions of one tenant.
        max_waiting: calls that wait for their turn on one session; further ones are `overloaded`.
        max_owned: sessions that a worker keeps in memory; others are read again when they are used.
        max_owned_bytes: size of these in all.
        max_answers: answers that are kept for one tenant's idempotency keys outside of sessions.
        answers_ms: how long an idempotency key holds.
        sweep_s: seconds between two searches for expired sessions.
    """

    limits: SessionLimits = SessionLimits()
    max_sessions: int = 100_000
    max_waiting: int = 64
    max_owned: int = 1_024
    max_owned_bytes: int = 64 * 1024 * 1024
    max_answers: int = 100_000
    answers_ms: int = 10 * 60 * 1000
    sweep_s: float = 60.0


__all__ = ["SessionLimits", "SessionSettings"]
