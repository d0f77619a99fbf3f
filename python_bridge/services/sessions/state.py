"""A session as a value: every operation gives a new one, so that a call that fails has changed nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from python_bridge.services.sessions.history import History
from python_bridge.services.sessions.limits import SessionLimits
from python_bridge.services.sessions.usage import Usage


@dataclass(frozen=True, slots=True)
class SessionProgram:
    """A program that a session brings along, and the state that this session put over the program's own."""

    program: Mapping[str, Any]
    state: Mapping[str, Any] | None = None

    def effective(self) -> Mapping[str, Any]:
        """Return the program with the session's state in it."""
        return self.program if self.state is None else {**self.program, "state": self.state}


@dataclass(frozen=True, slots=True)
class SessionState:
    """All that a session is, apart from who owns it.

    Attributes:
        tenant: ``""`` for none.
        lm: name of an LM in the workers' settings; keys are never part of a session.
        programs: by hash.
        created_at, updated_at: milliseconds since 1970.
    """

    tenant: str
    id: str
    created_at: int
    updated_at: int
    lm: str | None = None
    adapter: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    programs: Mapping[str, SessionProgram] = field(default_factory=dict[str, SessionProgram])
    history: History = field(default_factory=History)
    usage: Usage = field(default_factory=Usage)
    limits: SessionLimits = field(default_factory=SessionLimits)

    @property
    def expires_at(self) -> int:
        """When the session ends if nobody uses it: milliseconds since 1970."""
        return min(self.created_at + self.limits.ttl_ms, self.updated_at + self.limits.idle_ms)

    def touched(self, now: int) -> "SessionState":
        """Return the session as used at `now`; its time never goes back."""
        return replace(self, updated_at=max(now, self.updated_at))

    def with_variables(self, put: Mapping[str, Any], delete: Iterable[str] = ()) -> "SessionState":
        """Return the session with variables set and deleted; unknown names to delete are ignored."""
        variables = {**self.variables, **put}
        for name in delete:
            variables.pop(name, None)
        return replace(self, variables=variables)

    def with_program(self, handle: str, program: SessionProgram) -> "SessionState":
        """Return the session with a program, in the place of the one with the same hash."""
        return replace(self, programs={**self.programs, handle: program})

    def with_entry(self, fields: dict[str, Any], body: str, usage: Usage | None = None) -> "SessionState":
        """Return the session with one entry more in its history, which is cut to its budget.

        Args:
            body: `fields` as JSON.
            usage: the new sums, when the entry is that of a call.
        """
        history = self.history.append(fields, body, self.updated_at).within(self.limits)
        return replace(self, history=history, usage=self.usage if usage is None else usage)

    def same_document(self, other: "SessionState") -> bool:
        """Whether what is stored as one document (all but times, usage and history) is the very same."""
        return self.variables is other.variables and self.programs is other.programs and self.limits is other.limits


__all__ = ["SessionProgram", "SessionState"]
