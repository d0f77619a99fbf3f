"""The table of module kinds."""

from python_bridge.engine.modules.base import Kind
from python_bridge.engine.modules.predictors import CHAIN_OF_THOUGHT, PREDICT
from python_bridge.engine.modules.react import REACT

KINDS: dict[str, Kind] = {"predict": PREDICT, "chain_of_thought": CHAIN_OF_THOUGHT, "react": REACT}

__all__ = ["KINDS"]
