"""The Python side of DSPex: long-lived workers that run DSPy programs for other languages."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("python-bridge")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.1.0"

__all__ = ["__version__"]
