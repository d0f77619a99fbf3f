"""What every Python test shares."""

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow at making examples, which says nothing about the code; time limits are elsewhere.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio: the loop that workers have."""
    return "asyncio"
