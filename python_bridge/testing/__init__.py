"""For the tests of programs that use the bridge (and for the bridge's own).

- `ScriptedLM`: a `dspy.LM` whose answers a test writes down; gates instead of sleeps.
- `OpenAIServer`: a local HTTP server with OpenAI's chat completions API, with every fault that a real one shows.
- `Gate`: what tasks and threads wait at.

Names are imported when they are used: the server runs without dspy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from python_bridge.testing.gate import Gate
    from python_bridge.testing.openai_behaviour import Behaviour
    from python_bridge.testing.openai_server import OpenAIServer
    from python_bridge.testing.scripted import Answer, Asked, ScriptedLM, ScriptExhausted

_HOMES = {
    "Answer": "scripted",
    "Asked": "scripted",
    "Behaviour": "openai_behaviour",
    "Gate": "gate",
    "OpenAIServer": "openai_server",
    "ScriptExhausted": "scripted",
    "ScriptedLM": "scripted",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["Answer", "Asked", "Behaviour", "Gate", "OpenAIServer", "ScriptExhausted", "ScriptedLM"]
