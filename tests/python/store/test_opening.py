"""Opening a store: its file, its tables, and what makes it refuse."""

import asyncio
import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from storekit.make import row

from python_bridge.errors import BridgeError
from python_bridge.store.database import Database
from python_bridge.store.location import default_path, resolve_url
from python_bridge.store.migrations import HEAD
from python_bridge.store.sessions import SessionStore
from python_bridge.store.settings import StoreSettings
from python_bridge.store.store import Store
from python_bridge.store.tables import metadata

pytestmark = pytest.mark.anyio


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(resolve_url(StoreSettings(url=url)), poolclass=sa.NullPool)


async def test_the_default_store_lies_in_the_state_folder_and_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = await Store.open(StoreSettings(instance="shop"))
    await SessionStore(store).create(row(), "{}", max_sessions=1)
    path = tmp_path / "dspex" / "shop.db"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert store.label == str(path)
    await store.close()


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    path.touch(0o644)
    await (await Store.open(StoreSettings(url=f"sqlite:///{path}"))).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("instance", ["", "..", "a/b", "a\0b"])
async def test_an_instance_name_can_t_leave_the_folder(instance: str) -> None:
    with pytest.raises(BridgeError, match="can't name a store"):
        default_path(instance)


async def test_the_migrations_make_what_the_tables_say(store_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    await (await Store.open(StoreSettings(url=store_url))).close()
    with _engine(store_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


async def test_head_is_the_newest_script() -> None:
    from alembic.script import ScriptDirectory

    import python_bridge.store.migrations as migrations

    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == HEAD


async def test_a_store_that_is_opened_again_keeps_what_it_has(store_url: str) -> None:
    first = await Store.open(StoreSettings(url=store_url))
    await SessionStore(first).create(row(), '{"kept":1}', max_sessions=1)
    await first.close()
    second = await Store.open(StoreSettings(url=store_url))
    snapshot = await SessionStore(second).snapshot("t", "s", now=2_000)
    assert snapshot == (row(), '{"kept":1}', [])
    await second.close()


async def test_a_store_of_a_newer_version_is_refused_untouched(store_url: str) -> None:
    await (await Store.open(StoreSettings(url=store_url))).close()
    with _engine(store_url).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BridgeError, match="revision 9999, newer than") as refused:
        await Store.open(StoreSettings(url=store_url))
    assert (refused.value.kind, refused.value.retryable) == ("unavailable", False)
    with _engine(store_url).connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "9999"


async def test_a_database_with_other_people_s_tables_is_left_alone(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(exist_ok=True)
    with _engine(store_url).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE sessions (mine INTEGER)")
    with pytest.raises(BridgeError, match="not ours"):
        await Store.open(StoreSettings(url=store_url))


def _open_and_close(url: str) -> None:
    asyncio.run(_open(url))


async def _open(url: str) -> None:
    await (await Store.open(StoreSettings(url=url, lock_timeout_s=60))).close()


async def test_processes_that_open_a_new_store_at_once_migrate_it_once(store_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_open_and_close, args=(store_url,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 120)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with _engine(store_url).connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


async def test_a_folder_that_can_t_be_made_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BridgeError, match="can't be opened for writing") as refused:
        await Store.open(StoreSettings(url=f"sqlite:///{tmp_path}/file/x.db"))
    assert (refused.value.kind, refused.value.retryable) == ("unavailable", False)


async def test_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is no database at all" * 400)
    with pytest.raises(BridgeError, match="no SQLite database"):
        await Store.open(StoreSettings(url=f"sqlite:///{path}"))
    assert path.read_bytes().startswith(b"this is no database")


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = await Store.open(StoreSettings(url=f"sqlite:///{path}"))
    sessions = SessionStore(store)
    for number in range(200):
        await sessions.create(row(f"s{number}"), '{"v":"' + "x" * 500 + '"}', max_sessions=999)
    await store.close()
    body = bytearray(path.read_bytes())
    body[4096:] = b"\xff" * (len(body) - 4096)
    path.write_bytes(body)
    with pytest.raises(BridgeError, match="damaged") as refused:
        await _open(f"sqlite:///{path}")
    assert refused.value.kind == "unavailable"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("no url", "can't be read"),
        ("mysql://u:hidden@h/d", "not supported"),
        ("sqlite://", "not supported"),
        ("sqlite:///:memory:", "not supported"),
    ],
)
async def test_urls_that_can_t_work_are_refused_without_their_password(url: str, text: str) -> None:
    with pytest.raises(BridgeError, match=text) as refused:
        resolve_url(StoreSettings(url=url))
    assert "hidden" not in refused.value.message


async def test_a_password_is_in_no_text() -> None:
    settings = StoreSettings(url="postgresql://user:hidden@127.0.0.1:1/db", lock_timeout_s=0.1)
    assert "hidden" not in repr(settings)
    assert "hidden" not in Database(settings).label
    with pytest.raises(BridgeError) as refused:
        await Store.open(settings)
    assert refused.value.kind == "unavailable"
    assert "hidden" not in refused.value.message


async def test_a_store_does_not_cross_a_fork(tmp_path: Path) -> None:
    database = Database(StoreSettings(url=f"sqlite:///{tmp_path}/x.db"))
    database.open()
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        try:
            database.connect()
        except BridgeError as error:
            os.write(write_end, error.message.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert b"over a fork" in pipe.read()


async def test_the_write_ahead_log_is_copied_back_and_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = await Store.open(StoreSettings(url=f"sqlite:///{path}"))
    sessions = SessionStore(store)
    await sessions.create(row(), "{}", max_sessions=1)
    state = '{"v":"' + "x" * 60_000 + '"}'
    from storekit.make import change

    for version in range(2_000):
        assert await sessions.commit(change(row(version=version), state=state))
    written = 2_000 * len(state)
    assert (tmp_path / "x.db-wal").stat().st_size < written / 2
    await store.close()
    assert sqlite3.connect(path).execute("SELECT version FROM sessions").fetchone() == (2_000,)
