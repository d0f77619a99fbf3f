"""`react`: an agent that calls the client's tools."""

from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.modules.base import Builder, BuiltModule, Kind, check_names
from python_bridge.engine.modules.options import read_options, whole

_OPTIONS = {"max_iters": whole(20, 1, 1000)}
_RESERVED = frozenset({"max_iters", "trajectory"})


def build_react(program: Mapping[str, Any], builder: Builder) -> BuiltModule:
    """`dspy.ReAct`; its prediction has `trajectory` beside the outputs."""
    options, params = read_options(program.get("config", {}), _OPTIONS, "config")
    signature = builder.signature(program)
    check_names(signature, _RESERVED)
    module = dspy.ReAct(signature, tools=builder.tools(program), max_iters=options["max_iters"])
    return BuiltModule(signature, lambda: module, True, params, options, list(program.get("tools", [])))


REACT = Kind(build_react, _OPTIONS, frozenset({"signature", "tools"}), _RESERVED)

__all__ = ["REACT"]
