"""A `dspy.Module` instance of the caller's own. It is never changed, and never kept longer than the caller does."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dspy

from python_bridge.engine.calls import Runner, blocks, run
from python_bridge.engine.inputs import InputChecker
from python_bridge.engine.interface import CallContext, CallOptions, CallResult
from python_bridge.engine.lms.params import check_params
from python_bridge.engine.lms.variants import with_params
from python_bridge.engine.modules.base import BuiltModule
from python_bridge.engine.targets.content import Content
from python_bridge.engine.targets.inputs import ForwardChecker, signature_of
from python_bridge.engine.targets.interface import Identity
from python_bridge.engine.targets.lms import adapter_text, identity_of, on_loop, surroundings
from python_bridge.errors import BridgeError

_PLAIN_ADAPTERS = {dspy.ChatAdapter: "chat", dspy.JSONAdapter: "json", dspy.XMLAdapter: "xml"}
_COUNTS_DOWN = (dspy.BestOfN, dspy.Refine)  # both wear out: a fresh copy for each call


class _NoSignature:
    """Stands for the signature of a program that has none: its outputs are what `forward` returns."""

    output_fields: Mapping[str, Any] = {}


class InstanceTarget:
    """See `Target`.

    Args:
        module: the program.
        runner: of the engine whose named LMs and threads the calls use.
    """

    def __init__(self, module: Any, runner: Runner) -> None:
        self._module = module
        self._runner = runner
        self._content = Content(module)
        owned = type(module).__module__.startswith("dspy.")
        signature = signature_of(module) if owned or _takes_anything(module) else None
        self._checker: Any = ForwardChecker(module) if signature is None else InputChecker(signature)
        self._checked_for = signature
        self._shown: str | None = None
        fresh = any(isinstance(part, _COUNTS_DOWN) for _, part in module.named_sub_modules())
        self._built = BuiltModule(
            signature=signature or _NoSignature,
            make=module.deepcopy if fresh else lambda: module,
            asynchronous=_is_asynchronous(module),
            params={},
            config={},
            trace=fresh,
            own_code=signature is None,
        )
        self.name = type(module).__name__

    asks_client = False

    @property
    def signature(self) -> str:
        """The signature's text; for programs of several, that of each predictor."""
        if self._checked_for is None:
            return self._content.get().signatures
        if self._shown is None:
            self._shown = "; ".join(predictor.signature.signature for predictor in self._module.predictors())
        return self._shown

    @property
    def required(self) -> tuple[str, ...]:
        """Inputs that must be given."""
        return self._fresh_checker().required

    @property
    def asynchronous(self) -> bool:
        """Whether it runs without a thread of its own."""
        return self._built.asynchronous

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return converted inputs."""
        return self._fresh_checker().check(inputs)

    def _fresh_checker(self) -> Any:
        if self._checked_for is not None:
            signature = signature_of(self._module)
            if signature is not self._checked_for and signature is not None:  # the caller has changed it
                self._checked_for = signature
                self._built = replace(self._built, signature=signature)
                self._checker = InputChecker(signature)
                self._shown = None
        return self._checker

    def identity(self, options: CallOptions) -> Identity:
        """Return what the answers depend on."""
        content = self._content.get()
        chosen = lm, adapter = self._chosen(options)
        lm_text, lm_stable = identity_of(lm)
        around, around_stable = surroundings()
        plain = isinstance(adapter, str)
        text = f"{content.digest}|{lm_text}|{adapter if plain else adapter_text(adapter)}{around}"
        return Identity(content.digest, text, content.stable and lm_stable and plain and around_stable, chosen)

    async def call(
        self, inputs: Mapping[str, Any], options: CallOptions, context: CallContext, identity: Identity | None = None
    ) -> CallResult:
        """Run once."""
        lm, adapter = self._chosen(options) if identity is None else identity.chosen
        return await run(self._runner, self._built, inputs, lm, adapter, context)

    def _chosen(self, options: CallOptions) -> tuple[Any, Any]:
        lm = on_loop(self._lm(options.lm))
        if options.config and lm is not None:
            lm = with_params(lm, check_params(options.config, "options.config"))
        return lm, options.adapter or self._adapter()

    def _lm(self, name: str | None) -> Any:
        if name is not None:
            return self._runner.lms.get(name)
        if (lm := dspy.settings.lm) is not None:
            return lm
        lms = self._runner.lms
        if lms.default_name in lms:
            return lms.get(lms.default_name)
        if self._content.get().has_lms:
            return None
        raise BridgeError(
            "invalid_request",
            f"{self.name} has no LM: call dspy.configure(lm=…), or give the executor lms={{'default': …}}",
        )

    def _adapter(self) -> Any:
        chosen = dspy.settings.adapter
        if chosen is None:
            return self._runner.adapter
        plain = _PLAIN_ADAPTERS.get(type(chosen))
        return plain if plain is not None and vars(chosen) == vars(type(chosen)()) else chosen


def _takes_anything(module: Any) -> bool:
    """Whether `forward` has no parameters of its own to check inputs against."""
    entry = getattr(type(module), "forward", None) or getattr(type(module), "aforward", None)
    if entry is None:
        return True
    parameters = list(inspect.signature(entry).parameters.values())[1:]
    return all(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)


def _is_asynchronous(module: Any) -> bool:
    """A tool or an LM that is a plain function would hold the loop, and with it every timeout."""
    if not inspect.iscoroutinefunction(getattr(type(module), "aforward", None)):
        return False
    if any(blocks(predictor.lm) for predictor in module.predictors()):
        return False
    tools = [tool for _, part in module.named_sub_modules() for tool in _tools(part)]
    return all(inspect.iscoroutinefunction(getattr(tool, "func", tool)) for tool in tools)


def _tools(module: Any) -> list[Any]:
    tools = getattr(module, "tools", None)
    found = list(tools.values()) if isinstance(tools, dict) else tools
    return [tool for tool in found if isinstance(tool, dspy.Tool) and tool.name != "finish"] if found else []


__all__ = ["InstanceTarget"]
