"""A program given as JSON."""

from collections.abc import Mapping
from typing import Any

from python_bridge.engine.engine import DSPyEngine
from python_bridge.engine.interface import CallContext, CallOptions, CallResult
from python_bridge.engine.targets.interface import Identity
from python_bridge.engine.targets.lms import identity_of

_KINDS = {"predict": "Predict", "chain_of_thought": "ChainOfThought", "react": "ReAct"}


class DocumentTarget:
    """See `Target`.

    Args:
        program: of the shape of `proto/program.schema.json`.
    """

    def __init__(self, engine: DSPyEngine, program: Mapping[str, Any]) -> None:
        self._compiled = engine.compile(program)
        self._hash = engine.hash_program(program)
        self._signature = self._compiled.built.signature
        kind: str = program["kind"]
        self.name: str = str(program.get("name") or _KINDS.get(kind, kind))
        self.asynchronous = self._compiled.built.asynchronous
        self.required = self._compiled.checker.required

    @property
    def signature(self) -> str:
        """The signature's text."""
        return self._signature.signature

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return converted inputs."""
        return self._compiled.checker.check(inputs)

    def identity(self, options: CallOptions) -> Identity:
        """Return what the answers depend on."""
        lm, adapter = self._compiled.chosen(options)
        text, stable = identity_of(lm)
        return Identity(self._hash, f"{self._hash}|{text}|{adapter}", stable)

    async def call(self, inputs: dict[str, Any], options: CallOptions, context: CallContext) -> CallResult:
        """Run once."""
        return await self._compiled.call(inputs, options, context)


__all__ = ["DocumentTarget"]
