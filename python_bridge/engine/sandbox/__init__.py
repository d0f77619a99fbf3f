"""Where the LM's code runs: Python in WebAssembly in Deno, with no files, no network and no environment.

DSPy's runner imports one function from deno.land; an import map gives it ours, so that a sandbox needs no address but
that of the npm registry, from which Deno fetches Pyodide once.
"""

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from python_bridge.engine.compat.features import require
from python_bridge.errors import BridgeError

INSTALL = "pip install 'dspy[deno]'"
_FOLDER = Path(__file__).resolve().parent


def has_deno() -> bool:
    """Whether a Deno executable is at hand."""
    return importlib.util.find_spec("deno") is not None or shutil.which("deno") is not None


def need_deno(kind: str) -> None:
    """Refuse a kind of program that cannot run here.

    Raises:
        BridgeError: `unavailable`, with the line to run.
    """
    require("sandbox", f"the kind {kind!r}")
    if not has_deno():
        raise BridgeError(
            "unavailable",
            f"the kind {kind!r} runs code in a Deno sandbox, and there is no Deno on this machine; run: {INSTALL}",
            retryable=False,
        )


def interpreter(tools: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Return a new sandbox that calls `tools` by name; DSPy shuts it down."""
    from dspy.primitives.python_interpreter import PythonInterpreter

    command = PythonInterpreter().deno_command
    return PythonInterpreter(deno_command=_with_import_map(command), tools=dict(tools or {}))


def _with_import_map(command: list[str]) -> list[str]:
    opened = [part.replace("--allow-read=", f"--allow-read={_FOLDER},", 1) for part in command]
    return [*opened[:2], f"--import-map={_FOLDER / 'import_map.json'}", *opened[2:]]


__all__ = ["INSTALL", "has_deno", "interpreter", "need_deno"]
