"""What Snakepit starts: its cleanup of orphans knows a worker by this file's name in the command line.

The same as `python-bridge snakepit-worker`, but that it also works from a checkout that is not installed.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve()


def main() -> int:
    """Run a worker; return its exit status."""
    # The folder of a script comes first on the path, where its modules would hide others of the same name.
    sys.path[:] = [entry for entry in sys.path if entry != str(_HERE.parent)]
    root = str(_HERE.parents[3])
    if root not in sys.path:
        sys.path.insert(0, root)
    from importlib import import_module

    sys.argv[:] = ["python-bridge", "snakepit-worker", *sys.argv[1:]]
    return import_module("python_bridge.__main__").main()


if __name__ == "__main__":
    sys.exit(main())
