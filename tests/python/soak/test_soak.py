"""A short soak: the very code of `make soak`, with fewer calls."""

from pathlib import Path

import pytest
from soakkit.soak import Options, soak

pytestmark = pytest.mark.anyio


@pytest.mark.req("OWN-3", "FR2.3.3", "NFR2.1.2", "NFR3.2.4")
async def test_mixed_calls_on_workers_that_are_killed_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    report = await soak(Options(calls=1_600, kill_every=200), tmp_path)
    assert report.problems() == []
