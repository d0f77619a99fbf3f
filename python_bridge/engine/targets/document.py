"""A program given as JSON."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from python_bridge.engine.interface import CallContext, CallOptions, CallResult
from python_bridge.engine.targets.interface import Identity
from python_bridge.engine.targets.lms import identity_of, surroundings

if TYPE_CHECKING:
    from python_bridge.engine.compiled import Compiled

_KINDS = {"predict": "Predict", "chain_of_thought": "ChainOfThought", "react": "ReAct"}


class DocumentTarget:
    """See `Target`.

    Args:
        compiled: the program, ready to run.
        program: its JSON.
        handle: its hash.
    """

    def __init__(self, compiled: "Compiled", program: Mapping[str, Any], handle: str) -> None:
        self._compiled = compiled
        self._hash = handle
        built = compiled.built
        kind: str = program["kind"]
        self.name: str = str(program.get("name") or _KINDS.get(kind, kind))
        self.signature: str = built.signature.signature
        self.asynchronous = built.asynchronous
        self.required = compiled.checker.required
        self.asks_client = bool(built.tools)
        self.check = compiled.checker.check
        self._stable = not _imports(program)  # what stands at an import may be another one in the next process

    def identity(self, options: CallOptions) -> Identity:
        """Return what the answers depend on."""
        chosen = lm, adapter = self._compiled.chosen(options)
        text, stable = identity_of(lm)
        around, around_stable = surroundings()
        text = f"{self._hash}|{text}|{adapter}{around}"
        return Identity(self._hash, text, stable and around_stable and self._stable, chosen)

    async def call(
        self, inputs: Mapping[str, Any], options: CallOptions, context: CallContext, identity: Identity | None = None
    ) -> CallResult:
        """Run once."""
        return await self._compiled.run(inputs, options, context, None if identity is None else identity.chosen)


def _imports(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(name == "import" or _imports(item) for name, item in cast("Mapping[str, Any]", value).items())
    return isinstance(value, list) and any(_imports(item) for item in cast("list[Any]", value))


__all__ = ["DocumentTarget"]
