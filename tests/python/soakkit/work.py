"""The programs that a soak calls, for either engine: each call carries a number that is found again in the history."""

from collections.abc import Mapping
from typing import Any, Protocol


class Work(Protocol):
    """How an engine's programs are asked, and what is read from what they leave behind."""

    engine: str
    arguments: tuple[str, ...]

    def call(self, number: int, *, stream: bool = False, tool: bool = False) -> dict[str, Any]:
        """Return the params of a `call`."""
        ...

    def slow(self, number: int) -> dict[str, Any]:
        """Return the params of a `call` that takes its time, where the engine can."""
        ...

    def failing(self, number: int) -> dict[str, Any]:
        """Return the params of a `call` that fails."""
        ...

    def number(self, fields: Mapping[str, Any]) -> int:
        """Return the number of an entry of a history, or of a prediction's outputs."""
        ...


class ScriptedWork:
    """Of the engine without dspy."""

    engine = "scripted"
    arguments = ()

    def call(self, number: int, *, stream: bool = False, tool: bool = False) -> dict[str, Any]:
        steps: list[dict[str, Any]] = []
        if stream:
            steps += [{"emit": {"type": "status", "message": f"step {step}"}} for step in range(5)]
        if tool:
            steps.append({"tool": "double", "arguments": {"number": number}})
        return self._params(*steps, {"answer": number})

    def slow(self, number: int) -> dict[str, Any]:
        return self._params({"sleep_ms": 1 + number % 4}, {"answer": number})

    def failing(self, number: int) -> dict[str, Any]:
        return self._params({"raise": "lm_error"})

    def number(self, fields: Mapping[str, Any]) -> int:
        return int(fields["answer"])

    def _params(self, *steps: dict[str, Any]) -> dict[str, Any]:
        return {"program": {"kind": "scripted"}, "inputs": {"script": list(steps)}}


class DspyWork:
    """Of dspy with the embedded LM, which answers from the context."""

    engine = "dspy"
    arguments = ("--lm=offline/extractive",)

    def call(self, number: int, *, stream: bool = False, tool: bool = False) -> dict[str, Any]:
        context = f"The mill is red. The number of the barn is {number}."
        inputs = {"context": context, "question": "Which number has the barn?"}
        return {
            "program": {"format": 1, "kind": "predict", "signature": "context, question -> answer"},
            "inputs": inputs,
        }

    def slow(self, number: int) -> dict[str, Any]:
        return self.call(number)

    def failing(self, number: int) -> dict[str, Any]:
        return {**self.call(number), "inputs": {"question": f"{number}"}}

    def number(self, fields: Mapping[str, Any]) -> int:
        return int(str(fields["context"]).rpartition(" ")[2].rstrip("."))


WORKS: dict[str, type[ScriptedWork] | type[DspyWork]] = {"scripted": ScriptedWork, "dspy": DspyWork}

__all__ = ["WORKS", "DspyWork", "ScriptedWork", "Work"]
