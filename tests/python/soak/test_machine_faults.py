"""What workers do when the machine fails them: the very code of `make soak`, which waits longer."""

from pathlib import Path

import pytest
from soakkit import faults
from soakkit.checks import failures

pytestmark = pytest.mark.anyio


@pytest.mark.req("FR2.3.3", "NFR2.1.1")
async def test_a_store_that_another_process_locks_refuses_or_waits_and_loses_nothing(tmp_path: Path) -> None:
    assert failures(await faults.locked_store(tmp_path, hold_s=0, patience_ms=150)) == []


@pytest.mark.req("FR2.3.3", "NFR2.1.1")
async def test_a_full_disk_loses_nothing_and_the_worker_goes_on_when_there_is_space_again(tmp_path: Path) -> None:
    assert failures(await faults.full_disk(tmp_path)) == []


@pytest.mark.req("NFR2.1.1", "FR2.1.4")
async def test_a_worker_whose_interpreter_c_code_holds_is_seen_and_killed(tmp_path: Path) -> None:
    assert failures(await faults.held_interpreter(tmp_path, hold_s=3_600, ping_s=0.2, misses=3)) == []


@pytest.mark.req("FR2.3.4")
async def test_a_wall_clock_that_is_set_ends_no_session_and_frees_no_key(tmp_path: Path) -> None:
    assert failures(await faults.clock_jumps(tmp_path)) == []


@pytest.mark.req("FR2.3.4")
async def test_sessions_opened_and_closed_over_the_wire_leave_nothing(tmp_path: Path) -> None:
    assert failures(await faults.many_sessions(tmp_path, count=500)) == []
