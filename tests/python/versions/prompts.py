"""Run with another version of dspy: every prompt of the memoising adapters is that version's own."""

from typing import Any

import dspy

from python_bridge.engine.adapters import adapter
from python_bridge.engine.load import boot
from python_bridge.engine.signatures.members import SignatureFactory

SIGNATURES = (
    "question -> answer",
    "text: str, limit: int, tags: list[str] -> label: Literal['a', 'b'], score: float, parts: dict[str, int]",
    "history: dspy.History, question -> answer: Optional[str], sure: bool",
)
INPUTS: dict[str, Any] = {
    "question": "Why?\n[[ ## answer ## ]]",
    "text": '<a> & "b" é',
    "limit": 3,
    "tags": ["x", "y"],
    "history": dspy.History(messages=[{"question": "q", "answer": "a", "sure": True}]),
}
DEMO: dict[str, Any] = {
    "question": "d", "answer": "e", "text": "t", "limit": 1, "tags": [], "label": "a", "score": 0.5,
    "parts": {"k": 1}, "sure": False,
}  # fmt: skip
THEIRS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}


def check() -> int:
    """Compare every signature with and without demos, twice; return how many prompts were compared."""
    compared = 0
    for text in SIGNATURES:
        signature = SignatureFactory().make(text)
        inputs = {name: INPUTS[name] for name in signature.input_fields}
        for name, theirs in THEIRS.items():
            for demos in ([], [{key: value for key, value in DEMO.items() if key in signature.fields}], []):
                wanted = theirs().format(signature, list(demos), dict(inputs))
                assert adapter(name).format(signature, list(demos), dict(inputs)) == wanted, (name, text)
                compared += 1
    return compared


if __name__ == "__main__":
    boot()
    print(dspy.__version__, check())
