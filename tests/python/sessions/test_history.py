"""Histories as values: what many appends at once leave is what one after the other leaves."""

import random

import pytest

from python_bridge.services.sessions.codec import encode
from python_bridge.services.sessions.history import History
from python_bridge.services.sessions.limits import SessionLimits

pytestmark = pytest.mark.req("FR2.3.1")


def one_by_one(history: History, items: list[dict[str, str]], limits: SessionLimits) -> History:
    for fields in items:
        history = history.append(fields, encode(fields), 7).within(limits)
    return history


@pytest.mark.parametrize("seed", range(40))
def test_many_entries_at_once_leave_what_one_after_the_other_leaves(seed: int) -> None:
    chance = random.Random(seed)
    limits = SessionLimits(
        history_entries=chance.randint(1, 8),
        history_tokens=chance.randint(1, 60),
        history_bytes=chance.randint(1, 300),
    )
    left = right = History()
    for _ in range(5):
        items = [{"q": "é" * chance.randint(0, 80)} for _ in range(chance.randint(0, 12))]
        left, right = left.extended(items, encode, 7, limits), one_by_one(right, items, limits)
        assert left == right


def test_entries_that_cannot_stay_are_numbered_and_not_written() -> None:
    written: list[str] = []

    def count(fields: dict[str, str]) -> str:
        written.append(fields["q"])
        return encode(fields)

    items = [{"q": str(index)} for index in range(5_000)]
    history = History().extended(items, count, 7, SessionLimits(history_entries=10))
    assert (history.first_seq, history.next_seq, len(written)) == (4_990, 5_000, 10)
