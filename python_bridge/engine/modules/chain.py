"""`chain`: steps one after the other; outputs feed inputs by name."""

from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind
from python_bridge.engine.modules.composite import AsyncModule, Child
from python_bridge.engine.modules.options import read_options
from python_bridge.errors import BridgeError


class Chain(AsyncModule):
    """Runs steps in order. Its prediction has the outputs of all of them; a later one of the same name wins."""

    def __init__(self, children: list[Child]) -> None:
        super().__init__()
        self.children = [_Hidden(child) for child in children]
        self.steps = [child.built.make() for child in children]

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """Run all steps."""
        known = dict(kwargs)
        produced: dict[str, Any] = {}
        for hidden, module in zip(self.children, self.steps, strict=True):
            child = hidden.value
            inputs = child.check({name: known[name] for name in child.input_names if name in known})
            prediction = await child.run(module, inputs)
            outputs = dict(prediction.items())
            known |= outputs
            produced |= outputs
        return dspy.Prediction(**produced)


class _Hidden:
    """Keeps a value out of DSPy's walk over a module's attributes."""

    def __init__(self, value: Any) -> None:
        self.value = value


def build_chain(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """A chain of `steps`."""
    options, params = read_options(program.get("config", {}), {}, "config")
    steps = program.get("steps") or []
    if not steps:
        raise BridgeError("invalid_request", "a chain needs at least one step in `steps`")
    children = [builder.child_of(step, f"steps.{index}") for index, step in enumerate(steps)]
    signature = _signature(children)
    return BuiltModule(signature, lambda: Chain(children), True, params, options)


def _signature(children: list[Child]) -> Any:
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for child in children:
        signature = child.built.signature
        for name, info in signature.input_fields.items():
            if name not in outputs and name not in inputs:
                inputs[name] = (info.annotation, info)
        outputs |= {name: (info.annotation, info) for name, info in signature.output_fields.items()}
    if both := sorted(set(inputs) & set(outputs)):
        raise BridgeError(
            "signature_error",
            f"`{both[0]}` is an input of the chain and an output of a later step; give one of them another name",
        )
    return dspy.Signature(inputs | outputs, children[-1].built.signature.instructions)  # type: ignore[call-arg]


CHAIN = Kind(build_chain, {}, frozenset({"steps"}))

__all__ = ["CHAIN", "Chain"]
