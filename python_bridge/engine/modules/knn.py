"""`knn`: the examples that are nearest to the inputs, by themselves or as demos of another program."""

import asyncio
from collections.abc import Mapping
from typing import Any

import dspy
import numpy

from python_bridge.engine.embedders.registry import Embed
from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.composite import AsyncModule, Child, signature_of
from python_bridge.engine.modules.options import read_options, text, whole
from python_bridge.errors import BridgeError

_OPTIONS = {"k": whole(3, 1, 10_000), "dimensions": whole(512, 16, 65_536), "embedder": text(None)}


class Index:
    """`dspy.KNN` on the loop: the examples are embedded with the first search, once.

    Args:
        k: how many examples `nearest` gives.
        examples: maps.
        names: members of the examples that are inputs; the others are not searched.
        embed: makes vectors.
    """

    def __init__(self, k: int, examples: list[dict[str, Any]], names: list[str], embed: Embed) -> None:
        self._k = k
        self._examples = examples
        self._texts = [_text({name: item[name] for name in item if name in names}) for item in examples]
        self._embed = embed
        self._vectors: numpy.ndarray | None = None
        self._lock = asyncio.Lock()

    async def nearest(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the `k` examples nearest to the inputs, the nearest first.

        Raises:
            BridgeError: `lm_error` of the embedder; the next search tries again.
        """
        async with self._lock:
            if self._vectors is None:
                self._vectors = await self._embed(self._texts)
        vector = (await self._embed([_text(inputs)]))[0]
        if len(vector) != self._vectors.shape[1]:
            raise BridgeError("lm_error", "the embedder gives vectors of different lengths; look at its model")
        order = (self._vectors @ vector).argsort()[-self._k :][::-1]
        return [self._examples[at] for at in order]


def _text(fields: Mapping[str, Any]) -> str:
    """Write fields as `dspy.KNN` does."""
    return " | ".join(f"{name}: {value}" for name, value in fields.items())


class Nearest(AsyncModule):
    """Finds the `k` nearest examples; with a child, runs it with these as its demos."""

    def __init__(self, index: Index, child: Child | None) -> None:
        super().__init__()
        self._find = index.nearest
        self.program = child.built.make() if child else None
        self._run_child = child.run if child else None

    async def aforward(self, **kwargs: Any) -> Any:
        """Return the examples, the nearest first, or what the child makes of them."""
        examples = [dict(example) for example in await self._find(kwargs)]
        if self.program is None or self._run_child is None:
            return dspy.Prediction(examples=examples)
        module = self.program.deepcopy()
        for predictor in module.predictors():
            signature: Any = predictor.signature
            known = set(signature.fields)
            predictor.demos = [{key: value for key, value in item.items() if key in known} for item in examples]
        return await self._run_child(module, kwargs)


def build_knn(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.KNN` over the program's `demos`, by the embedder that `config.embedder` names."""
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    child = builder.child(program, "program") if "program" in (program.get("children") or {}) else None
    signature = child.built.signature if child else builder.signature(program)
    check_names(signature, frozenset())
    names = list(signature.input_fields)
    demos = program.get("demos") or []
    if not demos:
        raise BridgeError("invalid_request", "the kind 'knn' needs examples in `demos`")
    embed = builder.embedder(options["embedder"], options["dimensions"])
    index = Index(options["k"], [dict(demo) for demo in demos], names, embed)
    if child is None:
        inputs = {name: (info.annotation, "") for name, info in signature.input_fields.items()}
        outputs = {"examples": (list[dict[str, Any]], "the nearest examples, the nearest first")}
        signature = signature_of(inputs, outputs, signature.instructions)
    return BuiltModule(signature, lambda: Nearest(index, child), True, params, options)


KNN = Kind(build_knn, _OPTIONS, frozenset({"signature", "children"}))

__all__ = ["KNN", "Index", "Nearest"]
