"""The engine: programs in, predictions out. The only part of the bridge that knows dspy."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dspy

from python_bridge.engine.adapters import ADAPTERS
from python_bridge.engine.builder import ModuleBuilder
from python_bridge.engine.calls import Runner
from python_bridge.engine.compat.features import present
from python_bridge.engine.compiled import Compiled
from python_bridge.engine.embedders.registry import EmbedderRegistry
from python_bridge.engine.interface import CallContext, CallOptions
from python_bridge.engine.lms.registry import LmRegistry
from python_bridge.engine.modules.registry import available_kinds
from python_bridge.engine.programs import check_shape, program_hash
from python_bridge.engine.signatures.members import SignatureFactory
from python_bridge.engine.threads import Threads
from python_bridge.settings import Settings

if TYPE_CHECKING:
    from python_bridge.engine.learning.learner import Learner

_WARM_UP = {"format": 1, "kind": "chain_of_thought", "signature": "question -> answer, score: float"}


class DSPyEngine:
    """See `Engine` in `interface`. Made by `python_bridge.engine.load.load_engine`.

    Args:
        settings: LMs, default adapter, allowed imports.
        lms: ready LMs by name that win over the settings.
        ambient: gives the LM of programs that name none, before the settings' default.
        types: types that signatures may name.
        signature_classes: signature classes that programs may name.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lms: Mapping[str, dspy.BaseLM] | None = None,
        ambient: Callable[[], Any] | None = None,
        types: Mapping[str, type] | None = None,
        signature_classes: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        threads = Threads(abandoned_limit=settings.max_abandoned)
        registry = LmRegistry(settings, lms, ambient)
        self._runner = Runner(registry, EmbedderRegistry(settings), settings.adapter, threads)
        self._builder = ModuleBuilder(settings, SignatureFactory(types, signature_classes), self._runner)

    @property
    def dspy_version(self) -> str:
        """Version of the installed dspy."""
        return dspy.__version__

    @property
    def features(self) -> list[str]:
        """Kinds, adapters, abilities, and what not every version of dspy has, as `initialize` lists them."""
        kinds = [f"kind:{name}" for name in available_kinds()]
        adapters = [f"adapter:{name}" for name in ADAPTERS]
        return ["stream", "tools", *kinds, *adapters, *(f"dspy:{name}" for name in sorted(present()))]

    @property
    def abandoned_threads(self) -> int:
        """Threads of cancelled calls that still run."""
        return self._runner.threads.abandoned

    def hash_program(self, program: Mapping[str, Any]) -> str:
        """Return the program's handle; see `Engine`."""
        return program_hash(program)

    def compile(self, program: Mapping[str, Any]) -> Compiled:
        """Make the program ready to run; see `Engine`."""
        check_shape(program)
        return Compiled(program, program_hash(program), self._builder.build(program, "program"), self._runner)

    @property
    def learning(self) -> "Learner":
        """See `Engine`. Its imports come with the first use."""
        from python_bridge.engine.learning.learner import Learner

        return Learner(self)

    @property
    def runner(self) -> Runner:
        """What all calls of this engine share: LMs, threads."""
        return self._runner

    async def warm_up(self) -> None:
        """Run one program on the embedded LM, so that the first caller does not pay for what DSPy loads late."""
        options = CallOptions(lm="offline/extractive")
        await self.compile(_WARM_UP).call({"question": "Is it warm?"}, options, CallContext(request_id="warm-up"))

    async def close(self) -> None:
        """Close the connections of LMs and embedders."""
        await self._runner.lms.close()
        await self._runner.embedders.close()


__all__ = ["DSPyEngine"]
