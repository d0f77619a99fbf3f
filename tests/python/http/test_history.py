"""The history of executions on its own."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from python_bridge.errors import BridgeError
from python_bridge.store.history import History
from python_bridge.wire.told import decode_told, encode_told


@pytest.mark.req("RT-1")
def test_only_the_newest_executions_are_kept(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db", keep=10)
    for number in range(600):
        history.add(f"e{number}", "p", True, b'{"n":%d}' % number)
        if number % 100 == 0:
            history.flush()
    history.flush()
    assert history.get("e599") == b'{"n":599}'
    assert history.get("e0") is None
    assert len(history.recent(1000)) < 300
    history.close()


@pytest.mark.req("RT-1", "EX-8")
def test_a_file_that_is_no_database_is_put_aside_and_the_service_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    path.write_bytes(b"this is no database, however long it is" * 100)
    history = History(path)
    history.add("e", "p", True, b"1")
    assert history.get("e") == b"1"
    history.close()
    assert (tmp_path / "h.db.damaged").exists()
    assert path.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BridgeError, match="file"):
        History(tmp_path / "file" / "h.db")


def test_a_claim_that_failed_gives_its_key_back(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    assert history.claim("k", b"1") is None
    with pytest.raises(BridgeError, match="still runs"):
        history.claim("k", b"1")
    history.answer("k", None)
    assert history.claim("k", b"1") is None
    history.answer("k", b"1")
    assert history.claim("k", b"1") == b"1"
    with pytest.raises(BridgeError, match="another request"):
        history.claim("k", b"2")
    history.close()


@pytest.mark.req("RT-2", "FR1.2.4")
@pytest.mark.parametrize(
    "value", [2**70, 10**400, float("inf"), datetime.date(2026, 1, 2), frozenset({"a"}), {"$type": 1}]
)
def test_what_json_lacks_is_kept_as_it_is(tmp_path: Path, value: Any) -> None:
    history = History(tmp_path / "history.db")
    try:
        history.add("e", "p", True, encode_told({"outputs": {"n": value}}))
        history.flush()
        assert decode_told(history.get("e") or b"") == {"outputs": {"n": value}}
        assert history.recent()[0]["outputs"] == {"n": value}
    finally:
        history.close()


@pytest.mark.req("RT-2")
def test_half_a_surrogate_pair_does_not_keep_an_execution_out(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    try:
        history.add("e", "p", True, encode_told({"outputs": {"text": "a\ud800b"}}))
        assert decode_told(history.get("e") or b"") == {"outputs": {"text": "a\ufffdb"}}
    finally:
        history.close()
