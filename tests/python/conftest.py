"""What every Python test shares."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio: the loop that workers have."""
    return "asyncio"
