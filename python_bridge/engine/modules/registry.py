"""The table of module kinds."""

from python_bridge.engine.compat.features import present
from python_bridge.engine.modules.base import Kind
from python_bridge.engine.modules.chain import CHAIN
from python_bridge.engine.modules.custom import CUSTOM
from python_bridge.engine.modules.knn import KNN
from python_bridge.engine.modules.parallel import PARALLEL
from python_bridge.engine.modules.predictors import CHAIN_OF_THOUGHT, PREDICT
from python_bridge.engine.modules.react import REACT
from python_bridge.engine.modules.sampling import BEST_OF_N, MULTI_CHAIN_COMPARISON, REFINE
from python_bridge.engine.modules.sandboxed import CODE_ACT, PROGRAM_OF_THOUGHT, RLM
from python_bridge.engine.sandbox import has_deno

KINDS: dict[str, Kind] = {
    "predict": PREDICT,
    "chain_of_thought": CHAIN_OF_THOUGHT,
    "react": REACT,
    "program_of_thought": PROGRAM_OF_THOUGHT,
    "code_act": CODE_ACT,
    "multi_chain_comparison": MULTI_CHAIN_COMPARISON,
    "best_of_n": BEST_OF_N,
    "refine": REFINE,
    "parallel": PARALLEL,
    "knn": KNN,
    "rlm": RLM,
    "chain": CHAIN,
    "custom": CUSTOM,
}
_SANDBOXED = {"program_of_thought", "code_act", "rlm"}


def available_kinds() -> list[str]:
    """Return the kinds that can run here; those in a sandbox need Deno."""
    sandboxed = has_deno() and "sandbox" in present()
    return [name for name in KINDS if name not in _SANDBOXED or sandboxed]


__all__ = ["KINDS", "available_kinds"]
