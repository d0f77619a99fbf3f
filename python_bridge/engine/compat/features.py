"""What the installed dspy has. Nothing is decided by version numbers but whether it can serve at all."""

import inspect
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import dspy

from python_bridge.errors import BridgeError


@dataclass(frozen=True, slots=True)
class _Feature:
    """Something that not every version has.

    Attributes:
        words: what it is, for messages.
        since: the first version that has it, for messages.
    """

    words: str
    since: str


FEATURES: dict[str, _Feature] = {
    "engines": _Feature("LM engines (providers beside those that speak OpenAI's API)", "3.4"),
    "cost": _Feature("the price list of LMs", "3.4"),
    "lm-errors": _Feature("errors of LMs that it tells apart", "3.3"),
    "media": _Feature("images, audio and files that are never read from the worker's own disk or network", "3.3"),
    "sandbox": _Feature("a sandbox of its own for the code of each call", "3.3"),
    "xml-entities": _Feature("XML answers with entities", "3.3"),
}


@cache
def present() -> frozenset[str]:
    """Return the names of `FEATURES` that the installed dspy has."""
    found = {
        "engines": has_engines(),
        "cost": has_engines() and find_spec("dspy.clients.costs") is not None,
        "lm-errors": hasattr(dspy, "LMError"),
        "media": hasattr(getattr(dspy, "Image", None), "from_path"),
        "sandbox": _takes(getattr(dspy, "RLM", None), "interpreter_factory"),
        "xml-entities": hasattr(dspy.XMLAdapter, "_value_to_xml"),
    }
    return frozenset(name for name, there in found.items() if there)


@cache  # every answer asks for its price, and a signature takes 30 us to look at
def has_engines() -> bool:
    """Whether `dspy.LM` takes engines of `dspy.lm15`."""
    return hasattr(dspy, "lm15") and _takes(dspy.LM, "async_engine")


def require(name: str, what: str) -> None:
    """Refuse what needs a feature that the installed dspy lacks.

    Args:
        name: of `FEATURES`.
        what: needs it, for the message.

    Raises:
        BridgeError: `unavailable` with `details` of the feature, the installed version and the one that has it.
    """
    if name not in present():
        feature = FEATURES[name]
        raise BridgeError(
            "unavailable",
            f"{what} needs {feature.words}, which dspy {dspy.__version__} lacks; run: pip install "
            f"'dspy>={feature.since},<4'",
            retryable=False,
            details={"feature": name, "dspy": dspy.__version__, "since": feature.since},
        )


def _takes(kind: Any, parameter: str) -> bool:
    return kind is not None and parameter in inspect.signature(kind.__init__).parameters


__all__ = ["FEATURES", "has_engines", "present", "require"]
