"""The one door to the engine: imports dspy and sets it up for a long-lived process."""

import os
from typing import TYPE_CHECKING, Any

from python_bridge.errors import BridgeError
from python_bridge.settings import Settings

if TYPE_CHECKING:
    from python_bridge.engine.engine import DSPyEngine

MINIMUM = (3, 2)
_INSTALL = "pip install 'dspy>=3.2.1,<4'"
_booted = False


def load_engine(settings: Settings, **given: Any) -> "DSPyEngine":
    """Import dspy, set it up once, and return an engine.

    Call it in the main thread: DSPy lets only the first caller configure it.

    Args:
        settings: of the worker.
        given: passed to `DSPyEngine`: `lms`, `types`, `signature_classes`.

    Raises:
        BridgeError: `unavailable` with the line to run, when dspy is missing or too old.
    """
    boot()
    from python_bridge.engine.engine import DSPyEngine

    return DSPyEngine(settings, **given)


def preload() -> None:
    """Import dspy and the engine, and set nothing up: unlike the rest, this may be done in any thread.

    Raises:
        ImportError: dspy is missing.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    import python_bridge.engine.engine  # noqa: F401 - for its effect


def boot() -> None:
    """Import dspy and set it up: no history, no trace, no disk cache, no network on import. Does its work once.

    Raises:
        BridgeError: `unavailable`, as `load_engine`.
    """
    global _booted
    if _booted:
        return
    check_installed()
    import dspy

    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False, restrict_pickle=True)
    dspy.configure(disable_history=True, trace=None, max_history_size=0, warn_on_type_mismatch=False)
    _booted = True


def check_installed() -> None:
    """See that dspy is there and new enough; nothing of it is set up: that is the embedding program's own business.

    Raises:
        BridgeError: `unavailable`, as `load_engine`.
    """
    # litellm fetches its price list from the network on first use otherwise.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    try:
        import dspy
    except ImportError as error:
        raise BridgeError("unavailable", f"dspy is not installed in this Python ({error}); run: {_INSTALL}") from error
    check_version(dspy.__version__)


def check_version(version: str) -> None:
    """Refuse a dspy that lacks what the engine needs.

    Raises:
        BridgeError: `unavailable` with the line to run.
    """
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < MINIMUM:
        wanted = ".".join(str(part) for part in MINIMUM)
        raise BridgeError(
            "unavailable", f"dspy {version} is too old: the engine needs {wanted} or newer; run: {_INSTALL}"
        )


__all__ = ["boot", "check_installed", "check_version", "load_engine", "preload"]
