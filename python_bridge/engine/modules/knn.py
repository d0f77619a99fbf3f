"""`knn`: the examples that are nearest to the inputs, by themselves or as demos of another program."""

import re
import zlib
from collections.abc import Mapping
from typing import Any

import dspy
import numpy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.composite import AsyncModule, Child, signature_of
from python_bridge.engine.modules.options import read_options, whole
from python_bridge.errors import BridgeError

_OPTIONS = {"k": whole(3, 1, 10_000), "dimensions": whole(512, 16, 65_536)}
_WORD = re.compile(r"\w+")


def embed(texts: list[str], dimensions: int) -> numpy.ndarray:
    """Return unit vectors of hashed words and letter triples: no model, no network, the same on every machine.

    >>> embed(["red fish", "red fish"], 64).shape
    (2, 64)
    """
    vectors = numpy.zeros((len(texts), dimensions), dtype=numpy.float32)
    for row, text in enumerate(texts):
        for part in _parts(text.lower()):
            digest = zlib.crc32(part.encode())
            vectors[row, digest % dimensions] += 1.0 if digest & 0x8000_0000 else -1.0
    norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / numpy.where(norms == 0, 1, norms)


def _parts(text: str) -> list[str]:
    words = _WORD.findall(text)
    return words + [word[at : at + 3] for word in words for at in range(len(word) - 2)]


class Nearest(AsyncModule):
    """Finds the `k` nearest examples; with a child, runs it with these as its demos."""

    def __init__(self, knn: dspy.KNN, child: Child | None) -> None:
        super().__init__()
        self._find = knn
        self.program = child.built.make() if child else None
        self._run_child = child.run if child else None

    async def aforward(self, **kwargs: Any) -> Any:
        """Return the examples, the nearest first, or what the child makes of them."""
        examples = [dict(example.items()) for example in self._find(**kwargs)]
        if self.program is None or self._run_child is None:
            return dspy.Prediction(examples=examples)
        module = self.program.deepcopy()
        for predictor in module.predictors():
            signature: Any = predictor.signature
            known = set(signature.fields)
            predictor.demos = [{key: value for key, value in item.items() if key in known} for item in examples]
        return await self._run_child(module, kwargs)


def build_knn(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.KNN` over the program's `demos`."""
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    child = builder.child(program, "program") if "program" in (program.get("children") or {}) else None
    signature = child.built.signature if child else builder.signature(program)
    check_names(signature, frozenset())
    names = list(signature.input_fields)
    demos = program.get("demos") or []
    if not demos:
        raise BridgeError("invalid_request", "the kind 'knn' needs examples in `demos`")
    examples = [dspy.Example(**demo).with_inputs(*(name for name in names if name in demo)) for demo in demos]
    embedder = dspy.Embedder(lambda texts: embed(texts, options["dimensions"]), caching=False)
    knn = dspy.KNN(options["k"], examples, embedder)
    if child is None:
        inputs = {name: (info.annotation, "") for name, info in signature.input_fields.items()}
        outputs = {"examples": (list[dict[str, Any]], "the nearest examples, the nearest first")}
        signature = signature_of(inputs, outputs, signature.instructions)
    return BuiltModule(signature, lambda: Nearest(knn, child), True, params, options)


KNN = Kind(build_knn, _OPTIONS, frozenset({"signature", "children"}))

__all__ = ["KNN", "Nearest", "embed"]
