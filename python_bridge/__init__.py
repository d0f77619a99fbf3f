"""The Python side of DSPex: long-lived workers that run DSPy programs for other languages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from python_bridge.services.executor.executor import DSPyPipelineExecutor
    from python_bridge.services.executor.model import ExecutionMode, ExecutionResult
    from python_bridge.services.loader.loader import DSPyModelLoader

__version__: str

_HOMES = {
    "DSPyModelLoader": "services.loader.loader",
    "DSPyPipelineExecutor": "services.executor.executor",
    "ExecutionMode": "services.executor.model",
    "ExecutionResult": "services.executor.model",
}


def __getattr__(name: str) -> Any:
    """Look names up when they are asked for: a starting worker lacks the time, and needs none of them."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("python-bridge")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.1.0"


__all__ = ["DSPyModelLoader", "DSPyPipelineExecutor", "ExecutionMode", "ExecutionResult", "__version__"]
