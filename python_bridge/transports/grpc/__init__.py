"""gRPC: `dspex.bridge.v1` over the same dispatcher as every transport, and the service that Snakepit speaks.

Importing this package imports no gRPC: `require_grpc` tells what is missing.
"""

from importlib.util import find_spec
from pathlib import Path

from python_bridge.settings import SettingsError

SNAKEPIT_SCRIPT = Path(__file__).parent / "grpc_server.py"
"""What Snakepit starts."""
_PARTS = ("grpc", "grpc_health", "grpc_reflection", "google.protobuf")


def require_grpc() -> None:
    """Check that the libraries are there.

    Raises:
        SettingsError: with the line that installs them.
    """
    for name in _PARTS:
        try:
            found = find_spec(name) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            text = f"gRPC needs {name}, which is not installed; run: pip install 'python-bridge[grpc]'"
            raise SettingsError(text)


__all__ = ["SNAKEPIT_SCRIPT", "require_grpc"]
