"""Program JSON → built modules, children included."""

import importlib
from collections.abc import Mapping
from typing import Any

import dspy

from python_bridge.engine.calls import Runner
from python_bridge.engine.lms.params import check_params
from python_bridge.engine.modules.base import BuiltModule
from python_bridge.engine.modules.composite import Child
from python_bridge.engine.modules.registry import KINDS
from python_bridge.engine.signatures.fields import keep_fields
from python_bridge.engine.signatures.members import SignatureFactory
from python_bridge.engine.state import apply_state
from python_bridge.engine.tools import make_tool
from python_bridge.errors import BridgeError
from python_bridge.settings import Settings

MAX_DEPTH = 16
MAX_PROGRAMS = 256
_COMMON = {"format", "kind", "name", "config", "adapter", "lm", "state", "demos", "dspy_version", "metadata"}


class ModuleBuilder:
    """See `modules.base.Builder`.

    Args:
        settings: `allowed_imports` is read.
        signatures: makes signature classes.
        runner: for kinds that run parts of themselves.
    """

    def __init__(self, settings: Settings, signatures: SignatureFactory, runner: Runner) -> None:
        self._settings = settings
        self._signatures = signatures
        self.runner = runner

    def build(self, program: Mapping[str, Any], path: str) -> BuiltModule:
        """Return the module of a program whose shape was checked.

        Raises:
            BridgeError: `invalid_request`, `signature_error`, `invalid_input`, `not_found`, `limit_exceeded`.
        """
        if path.count(".") > MAX_DEPTH:
            raise BridgeError("limit_exceeded", f"programs are nested deeper than {MAX_DEPTH}; flatten them")
        if "." not in path and (count := _programs_in(program)) > MAX_PROGRAMS:
            text = f"{count} programs stand in this one, more than {MAX_PROGRAMS}; call some of them on their own"
            raise BridgeError("limit_exceeded", text)
        name = program["kind"]
        if (kind := KINDS.get(name)) is None:
            raise BridgeError("invalid_request", f"the kind {name!r} is not available here; known: {', '.join(KINDS)}")
        self._check_members(program, name, kind.members, path)
        built = kind.build(program, _Nested(self, path))
        if name != "knn":  # its demos are the examples to search
            apply_state(built.make(), program)
        for signature in (built.signature, *(predictor.signature for predictor in built.make().predictors())):
            keep_fields(signature)
        return built

    def build_child(self, program: Mapping[str, Any], path: str) -> BuiltModule:
        """Return the module of a program inside of another: its LM and parameters go into its predictors."""
        if program.get("adapter") is not None:
            raise BridgeError("invalid_request", f"{path}: the adapter is chosen by the outermost program")
        built = self.build(program, path)
        lm = program.get("lm")
        params = dict(built.params)
        if isinstance(lm, Mapping):
            params = check_params(lm.get("params", {}), f"{path}.lm.params") | params
        for predictor in built.make().predictors():
            predictor.config = {**predictor.config, **params}
            if lm is not None:
                predictor.lm = self.runner.lms.get(lm["name"] if isinstance(lm, Mapping) else lm)
        return built

    def _check_members(self, program: Mapping[str, Any], kind: str, members: frozenset[str], path: str) -> None:
        if extra := sorted(set(program) - _COMMON - members):
            raise BridgeError("invalid_request", f"{path}: the kind {kind!r} takes no `{extra[0]}`")

    def signature(self, program: Mapping[str, Any]) -> Any:
        """Return the class of the program's signature."""
        return self._signatures.make(program.get("signature"))

    def imported(self, path: str) -> Any:
        """Return what the server's settings allow to import from `path`."""
        if path not in self._settings.allowed_imports:
            raise BridgeError(
                "not_found", f"the import {path!r} is not on this worker's list of allowed imports (allowed_imports)"
            )
        module, _, name = path.replace(":", ".").rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise BridgeError("not_found", f"the allowed import {path!r} cannot be loaded: {error}") from error

    def tools(self, program: Mapping[str, Any]) -> list[dspy.Tool]:
        """Return the client's tools that the program names."""
        declared = program.get("tools", [])
        names = [item["name"] for item in declared]
        if twice := {name for name in names if names.count(name) > 1}:
            raise BridgeError("invalid_request", f"the tool `{sorted(twice)[0]}` stands twice")
        return [make_tool(item) for item in declared]


def _programs_in(program: Mapping[str, Any]) -> int:
    """How many programs a program is made of, itself included."""
    parts = [*(program.get("steps") or []), *(program.get("children") or {}).values()]
    return 1 + sum(_programs_in(part) for part in parts)


class _Nested:
    """The builder as one program sees it: it knows where it stands."""

    def __init__(self, builder: ModuleBuilder, path: str) -> None:
        self._builder = builder
        self._path = path
        self.signature = builder.signature
        self.imported = builder.imported
        self.tools = builder.tools
        self.embedder = builder.runner.embedders.get

    def child(self, program: Mapping[str, Any], name: str) -> Child:
        """Return the child program called `name`."""
        children = program.get("children") or {}
        if name not in children:
            raise BridgeError("invalid_request", f"{self._path}: the kind {program['kind']!r} needs `children.{name}`")
        return self.child_of(children[name], f"children.{name}")

    def child_of(self, program: Mapping[str, Any], path: str) -> Child:
        """Return another program inside of this one."""
        place = f"{self._path}.{path}"
        return Child(self._builder.build_child(program, place), self._builder.runner.threads, place)


__all__ = ["MAX_DEPTH", "ModuleBuilder"]
