"""`dspy.lm15` where DSPy has it, else our stand-in for the part of it that wires speak."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspy import lm15
else:
    try:
        from dspy import lm15
    except ImportError:
        from python_bridge.engine.compat import standin as lm15

__all__ = ["lm15"]
