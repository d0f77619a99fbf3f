"""A program made ready to run."""

from collections.abc import Mapping
from typing import Any

from python_bridge.engine.calls import Runner, run
from python_bridge.engine.inputs import InputChecker
from python_bridge.engine.interface import CallContext, CallOptions, CallResult
from python_bridge.engine.lms.params import check_params
from python_bridge.engine.lms.variants import with_params
from python_bridge.engine.modules.base import BuiltModule
from python_bridge.engine.outputs import to_plain
from python_bridge.engine.signatures.describe import describe_fields
from python_bridge.engine.targets.document import DocumentTarget


class Compiled:
    """See `CompiledProgram`. Holds what is the same for all calls; calls share nothing else.

    Args:
        program: its JSON; only names and settings are read from it.
        handle: its hash.
        built: the module.
        runner: what every call of the engine needs: LMs, threads.
    """

    def __init__(self, program: Mapping[str, Any], handle: str, built: BuiltModule, runner: Runner) -> None:
        self._program = program
        self._handle = handle
        self._target: DocumentTarget | None = None
        self.built = built
        self._runner = runner
        self.checker = InputChecker(built.signature, own_code=built.own_code)
        lm = program.get("lm")
        self._lm_name: str | None = lm["name"] if isinstance(lm, Mapping) else lm
        self._params = (
            check_params(lm.get("params", {}), "lm.params") | built.params if isinstance(lm, Mapping) else built.params
        )

    def describe(self) -> dict[str, Any]:
        """Return the description of `proto/PROTOCOL.md`, section 8."""
        signature = self.built.signature
        module: Any = self.built.make()
        predictors = [
            {"name": name, "signature": predictor.signature.signature, "instructions": predictor.signature.instructions,
             "demos": [to_plain(dict(demo)) for demo in predictor.demos]}
            for name, predictor in module.named_predictors()
        ]  # fmt: skip
        return {
            "kind": self._program["kind"],
            "module": self._handle,
            "instructions": signature.instructions,
            "inputs": describe_fields(signature, "input"),
            "outputs": describe_fields(signature, "output"),
            "predictors": predictors,
            "lm": self._lm_name or self._runner.lms.default_name,
            "adapter": self._program.get("adapter") or self._runner.adapter,
            "config": {**self.built.config, **self._params},
            "demos": to_plain(list(self._program.get("demos", []))),
            "tools": to_plain(self.built.tools),
            "features": ["stream", *(["tools"] if self.built.tools else [])],
        }

    @property
    def target(self) -> DocumentTarget:
        """The program as the executor sees it."""
        if self._target is None:
            self._target = DocumentTarget(self, self._program, self._handle)
        return self._target

    async def call(self, inputs: dict[str, Any], options: CallOptions, context: CallContext) -> CallResult:
        """Run once; see `CompiledProgram.call`."""
        return await self.run(self.checker.check(inputs), options, context)

    async def run(
        self,
        values: Mapping[str, Any],
        options: CallOptions,
        context: CallContext,
        chosen: tuple[Any, str] | None = None,
    ) -> CallResult:
        """Run once on inputs that were checked.

        Args:
            chosen: what `chosen` gave for the options already.
        """
        lm, adapter = chosen or self.chosen(options)
        return await run(self._runner, self.built, values, lm, adapter, context)

    def chosen(self, options: CallOptions) -> tuple[Any, str]:
        """Return the LM, with its parameters, and the name of the adapter that a call with `options` takes."""
        params = self._params
        if options.config:
            params = {**params, **check_params(options.config, "options.config")}
        name = options.lm or self._lm_name
        lm = self._runner.lms.default() if name is None else self._runner.lms.get(name)
        adapter = options.adapter or self._program.get("adapter") or self._runner.adapter
        return with_params(lm, params), adapter


__all__ = ["Compiled"]
