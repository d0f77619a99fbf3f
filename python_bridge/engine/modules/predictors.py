"""Kinds that are one predictor: `predict` and `chain_of_thought`."""

from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.options import read_options


def build_predict(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.Predict`."""
    return _single(program, builder, dspy.Predict)


def build_chain_of_thought(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.ChainOfThought`: one more output, `reasoning`, before the others."""
    return _single(program, builder, dspy.ChainOfThought)


def _single(program: Mapping[str, Any], builder: Builder, make: Any) -> BuiltModule:
    options, params = read_options(program.get("config", {}), {}, "config")
    signature = builder.signature(program)
    check_names(signature, frozenset())
    module = make(signature)
    predictor = module if isinstance(module, dspy.Predict) else module.predict
    return BuiltModule(predictor.signature, lambda: module, True, params, options)


PREDICT = Kind(build_predict)
CHAIN_OF_THOUGHT = Kind(build_chain_of_thought)

__all__ = ["CHAIN_OF_THOUGHT", "PREDICT"]
