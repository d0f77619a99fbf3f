"""Fixtures of every test that needs a store."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from storekit.postgres import PostgresServer, binaries

from python_bridge.store.settings import StoreSettings
from python_bridge.store.store import Store


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = binaries()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is missing: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store: each test that takes it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store/test.db"
    return request.getfixturevalue("postgres_server").new_database()


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(StoreSettings(url=store_url))
    yield opened
    await opened.close()
