"""`parallel`: one program over many inputs at once."""

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.failures import to_bridge_error
from python_bridge.engine.modules.base import Builder, BuiltModule, Kind
from python_bridge.engine.modules.composite import AsyncModule, Child, signature_of
from python_bridge.engine.modules.options import read_options, whole
from python_bridge.errors import BridgeError

_OPTIONS = {"num_threads": whole(8, 1, 1024), "max_errors": whole(None, 0, 1_000_000)}


class ParallelMap(AsyncModule):
    """Runs its child once an item, at most `limit` at a time; results stand in the order of the items."""

    def __init__(self, child: Child, limit: int, max_errors: int | None) -> None:
        super().__init__()
        self.program = child.built.make()
        self._run_child = child.run
        self._check = child.check
        self._outputs = child.outputs
        self._limit = limit
        self._max_errors = max_errors

    async def aforward(self, **kwargs: Any) -> dspy.Prediction:
        """Run over all items. A failed one gives null among the results and its error among the errors."""
        checked = [self._check(item) for item in kwargs["items"]]
        places = asyncio.Semaphore(self._limit)
        errors: dict[int, BridgeError] = {}

        async def one(index: int, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
            async with places:
                if self._is_over(errors):
                    return None
                try:
                    return self._outputs(await self._run_child(self.program, inputs))
                except Exception as error:
                    errors[index] = to_bridge_error(error)
                    if self._is_over(errors):
                        raise errors[index] from error
                    return None

        # Tokens of many answers at once would be of no use to anybody.
        with dspy.context(send_stream=None):
            tasks = [asyncio.ensure_future(one(index, inputs)) for index, inputs in enumerate(checked)]
        try:
            results = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        failed = [{"index": index, **errors[index].to_object()} for index in sorted(errors)]
        return dspy.Prediction(results=results, errors=failed)

    def _is_over(self, errors: Mapping[int, BridgeError]) -> bool:
        return self._max_errors is not None and len(errors) > self._max_errors


def build_parallel(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """A parallel map of `children.program` over the input `items`, a list of the child's inputs."""
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    child = builder.child(program, "program")
    names = ", ".join(f"`{name}`" for name in child.input_names)
    signature = signature_of(
        {"items": (list[dict[str, Any]], f"inputs of one call each: {names}")},
        {"results": (list[Any], "outputs of one call each, null where it failed"), "errors": (list[Any], "")},
        child.built.signature.instructions,
    )
    make = lambda: ParallelMap(child, options["num_threads"], options["max_errors"])  # noqa: E731
    return BuiltModule(signature, make, True, params, options)


PARALLEL = Kind(build_parallel, _OPTIONS, frozenset({"children"}))

__all__ = ["PARALLEL", "ParallelMap"]
