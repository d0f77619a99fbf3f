"""The conversation of a session: entries in order, cut at the old end when their budget is spent."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from python_bridge.services.sessions.limits import SessionLimits

_BYTES_A_TOKEN = 4  # of English text, in the tokenizers of today's models; good enough for a budget


@dataclass(frozen=True, slots=True)
class Entry:
    """One exchange: the fields of a call's inputs and outputs, as a message of `dspy.History` has them.

    Attributes:
        seq: number within the session, from 0, never used twice.
        at: milliseconds since 1970.
        body: `fields` as JSON.
        size: bytes of `body`.
    """

    seq: int
    at: int
    fields: dict[str, Any]
    body: str
    tokens: int
    size: int


def estimate_tokens(size: int) -> int:
    """Return about how many tokens a text of `size` bytes has."""
    return -(-size // _BYTES_A_TOKEN)


@dataclass(frozen=True, slots=True)
class History:
    """All entries, oldest first; `tokens` and `size` are their sums."""

    entries: tuple[Entry, ...] = ()
    next_seq: int = 0
    tokens: int = 0
    size: int = 0

    @property
    def first_seq(self) -> int:
        """The number of the oldest entry; `next_seq` when there is none."""
        return self.entries[0].seq if self.entries else self.next_seq

    def append(self, fields: dict[str, Any], body: str, at: int, tokens: int | None = None) -> "History":
        """Return the history with one entry more; `body` is `fields` as JSON, `tokens` are estimated when not given."""
        size = len(body) if body.isascii() else len(body.encode())
        entry = Entry(self.next_seq, at, fields, body, estimate_tokens(size) if tokens is None else tokens, size)
        return History((*self.entries, entry), self.next_seq + 1, self.tokens + entry.tokens, self.size + entry.size)

    def extended(
        self, items: Sequence[dict[str, Any]], encode: Callable[[dict[str, Any]], str], at: int, limits: SessionLimits
    ) -> "History":
        """Return what appending `items` one by one, each time `within` the limits, would give.

        Items that could not stay are only numbered: neither written as JSON nor kept.
        """
        newest: deque[Entry] = deque()
        tokens = size = 0
        for index in range(len(items) - 1, -1, -1):
            if len(newest) >= limits.history_entries or tokens > limits.history_tokens or size > limits.history_bytes:
                break
            entry = History(next_seq=self.next_seq + index).append(items[index], encode(items[index]), at).entries[0]
            newest.appendleft(entry)
            tokens, size = tokens + entry.tokens, size + entry.size
        else:
            newest.extendleft(reversed(self.entries))
            tokens, size = tokens + self.tokens, size + self.size
        return History(tuple(newest), self.next_seq + len(items), tokens, size).within(limits)

    def within(self, limits: SessionLimits) -> "History":
        """Return the history cut to its budget. The newest entry stays even when it alone is above it."""
        drop, tokens, size = 0, self.tokens, self.size
        for index in range(len(self.entries) - 1):
            count = len(self.entries) - drop
            if count <= limits.history_entries and tokens <= limits.history_tokens and size <= limits.history_bytes:
                break
            drop, tokens, size = drop + 1, tokens - self.entries[index].tokens, size - self.entries[index].size
        return self if drop == 0 else replace(self, entries=self.entries[drop:], tokens=tokens, size=size)

    def keep(self, count: int) -> "History":
        """Return the history with its newest `count` entries."""
        entries = self.entries[max(0, len(self.entries) - count) :]
        tokens, size = sum(entry.tokens for entry in entries), sum(entry.size for entry in entries)
        return replace(self, entries=entries, tokens=tokens, size=size)

    def messages(self) -> list[dict[str, Any]]:
        """Return the entries as the messages of a `dspy.History`."""
        return [entry.fields for entry in self.entries]


__all__ = ["Entry", "History", "estimate_tokens"]
