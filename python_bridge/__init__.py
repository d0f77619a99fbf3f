"""The Python side of DSPex: long-lived workers that run DSPy programs for other languages."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: `importlib.metadata` costs 20 ms that a starting worker lacks."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("python-bridge")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.1.0"
