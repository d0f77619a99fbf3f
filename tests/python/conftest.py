"""What every Python test shares."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow at making examples, which says nothing about the code; time limits are elsewhere.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio: the loop that workers have."""
    return "asyncio"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store of MLflow for all suites, with its tables: making them takes seconds."""
    from python_bridge.tracking.mlflow_exporter import import_mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    import_mlflow().MlflowClient(f"sqlite:///{path}").search_experiments()
    return f"sqlite:///{path}"


@pytest.fixture
def crowd() -> Iterator[Callable[[Callable[[int], None]], list[str]]]:
    """Runs a function of a number from 0 in eight threads that take turns all the time; returns what they raised."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield _run_in_a_crowd
    sys.setswitchinterval(interval)


def _run_in_a_crowd(work: Callable[[int], None]) -> list[str]:
    raised: list[str] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}"[:200])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
