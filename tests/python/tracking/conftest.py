"""One SQLite store for all suites of MLflow."""

import pytest

from python_bridge.tracking.mlflow_exporter import import_mlflow


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite store that has its tables: making them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    import_mlflow().MlflowClient(f"sqlite:///{path}").search_experiments()
    return f"sqlite:///{path}"
