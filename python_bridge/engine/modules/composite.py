"""What programs that hold other programs share."""

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.inputs import InputChecker
from python_bridge.engine.modules.base import BuiltModule
from python_bridge.engine.outputs import prediction_outputs
from python_bridge.engine.scope import current_scope
from python_bridge.engine.threads import Threads
from python_bridge.errors import BridgeError


class AsyncModule(dspy.Module):
    """A module of our own: asynchronous; in a thread it runs on the call's loop."""

    def forward(self, **kwargs: Any) -> Any:
        """Run `aforward` on the loop of the call."""
        scope = current_scope()
        if scope is None:
            return asyncio.run(self.aforward(**kwargs))
        return scope.run(self.aforward(**kwargs))

    async def aforward(self, **kwargs: Any) -> Any:
        """Run the module once."""
        raise NotImplementedError


class Child:
    """One program inside of another: checks its inputs and runs it as it can.

    Args:
        built: the program.
        threads: where it runs when it has no asynchronous form.
        path: where it stands, for messages.
    """

    def __init__(self, built: BuiltModule, threads: Threads, path: str) -> None:
        self.built = built
        self.path = path
        self._threads = threads
        self._inputs = InputChecker(built.signature)

    @property
    def input_names(self) -> list[str]:
        """Names of its inputs."""
        return list(self.built.signature.input_fields)

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked inputs; problems carry the child's path."""
        try:
            return self._inputs.check(inputs)
        except BridgeError as error:
            problems = [{**item, "path": f"{self.path}.{item['path']}"} for item in error.details["problems"]]
            message = f"{self.path}: {error.message}"
            raise BridgeError("invalid_input", message, details={"problems": problems}) from None

    async def run(self, module: Any, inputs: Mapping[str, Any]) -> Any:
        """Run a module that `built.make()` gave."""
        if self.built.asynchronous:
            return await module.acall(**inputs)
        return await self._threads.run(lambda: module(**inputs))

    def outputs(self, prediction: Any) -> dict[str, Any]:
        """Return a prediction's fields as plain values."""
        return prediction_outputs(prediction, self.built.signature.output_fields)


def signature_of(
    inputs: Mapping[str, tuple[Any, str]], outputs: Mapping[str, tuple[Any, str]], instructions: str
) -> Any:
    """Return a signature class made of names, types and descriptions."""
    fields: dict[str, Any] = {
        name: (kind, dspy.InputField(desc=desc) if desc else dspy.InputField()) for name, (kind, desc) in inputs.items()
    }
    fields |= {
        name: (kind, dspy.OutputField(desc=desc) if desc else dspy.OutputField())
        for name, (kind, desc) in outputs.items()
    }
    return dspy.Signature(fields, instructions)  # type: ignore[call-arg]


__all__ = ["AsyncModule", "Child", "signature_of"]
