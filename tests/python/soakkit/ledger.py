"""What was sent, what was acknowledged, and what of it is found in the end."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_SHOWN = 20


@dataclass(slots=True)
class Ledger:
    """The changes of one session.

    Attributes:
        acknowledged: numbers whose call was answered with a result.
        unknown: numbers whose worker was lost before it answered, and which could not be repeated.
        refused: number → the error that its call was answered with in the end.
    """

    acknowledged: set[int] = field(default_factory=set[int])
    unknown: set[int] = field(default_factory=set[int])
    refused: dict[int, str] = field(default_factory=dict[int, str])

    def __len__(self) -> int:
        return len(self.acknowledged) + len(self.unknown)


@dataclass(slots=True)
class Book:
    """The sums over all sessions, and what went wrong."""

    calls: Counter[str] = field(default_factory=Counter[str])
    repeated: Counter[str] = field(default_factory=Counter[str])
    disturbances: Counter[str] = field(default_factory=Counter[str])
    acknowledged: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    never_sent: int = 0
    sessions: int = 0
    problems: list[str] = field(default_factory=list[str])

    @property
    def answered(self) -> int:
        """Calls that had the answer that they should have."""
        return sum(self.calls.values())

    def problem(self, text: str) -> None:
        """Note what must not be; the first ones are kept in words."""
        if len(self.problems) < _SHOWN:
            self.problems.append(text)

    def settle(self, session: str, ledger: Ledger, applied: Iterable[int]) -> None:
        """Compare what a session holds with what its client was told."""
        found = Counter(applied)
        lost = ledger.acknowledged - set(found)
        doubled = [number for number, count in found.items() if count > 1]
        strange = set(found) - ledger.acknowledged - ledger.unknown
        self.sessions += 1
        self.acknowledged += len(ledger.acknowledged)
        self.unknown += len(ledger.unknown)
        self.lost += len(lost)
        self.doubled += len(doubled)
        self.never_sent += len(strange)
        for what, numbers in (("lost", lost), ("applied twice", doubled), ("applied though refused", strange)):
            if numbers:
                told = {number: ledger.refused.get(number, "") for number in sorted(numbers)[:10]}
                self.problem(f"{session}: {what}: {told}")
