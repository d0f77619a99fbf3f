"""The optional parts of the package that a worker may be told to need."""

from collections.abc import Iterable
from importlib.util import find_spec

from python_bridge.errors import BridgeError

EXTRAS = {"arrow": "pyarrow", "grpc": "grpc", "http": "fastapi", "mlflow": "mlflow"}
"""A module that is there when the extra is."""


def check_extras(names: Iterable[str]) -> None:
    """See that the extras are installed, without importing them.

    Raises:
        BridgeError: `unavailable` with the line to run; names that are no extras are named with those that are.
    """
    names = sorted(set(names))
    if unknown := [name for name in names if name not in EXTRAS]:
        raise BridgeError("unavailable", f"there is no extra {unknown[0]!r:.80}; the extras are {', '.join(EXTRAS)}")
    if missing := [name for name in names if find_spec(EXTRAS[name]) is None]:
        raise BridgeError(
            "unavailable",
            f"this Python lacks the extras {', '.join(missing)} (no module {EXTRAS[missing[0]]}); "
            f"run: mix dspex.setup --extras {','.join(missing)}, or: pip install 'python-bridge[{','.join(missing)}]'",
        )


__all__ = ["EXTRAS", "check_extras"]
