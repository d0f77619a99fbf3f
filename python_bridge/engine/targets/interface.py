"""What the executor knows of a program. Nothing here imports dspy."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from python_bridge.engine.interface import CallContext, CallOptions, CallResult


@dataclass(frozen=True, slots=True)
class Identity:
    """What an answer depends on beside the inputs.

    Attributes:
        program: the program's content: hash of what it is made of.
        text: the program with the LM, its parameters and the adapter.
        stable: whether `text` means the same in another process.
        chosen: the LM and the adapter behind it, for the target's own `call`.
    """

    program: str
    text: str
    stable: bool
    chosen: Any = field(default=None, compare=False, repr=False)


class Target(Protocol):
    """One program that is ready to run. Safe for concurrent calls."""

    @property
    def name(self) -> str: ...

    @property
    def signature(self) -> str:
        """``"question -> answer"``, for messages."""
        ...

    @property
    def required(self) -> tuple[str, ...]:
        """Inputs that must be given, in the program's order."""
        ...

    @property
    def asynchronous(self) -> bool:
        """Whether it runs without a thread of its own."""
        ...

    @property
    def asks_client(self) -> bool:
        """Whether it is known to call tools of the client's; its answers are not kept then."""
        ...

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return new inputs, converted to the declared types.

        Raises:
            BridgeError: `invalid_input` with every problem in `details.problems`.
        """
        ...

    def identity(self, options: CallOptions) -> Identity:
        """Return what its answers depend on.

        Raises:
            BridgeError: `not_found` for the name of an LM, `invalid_request` without any LM.
        """
        ...

    async def call(
        self, inputs: Mapping[str, Any], options: CallOptions, context: CallContext, identity: Identity | None = None
    ) -> CallResult:
        """Run once on checked inputs; see `CompiledProgram.call`.

        Args:
            identity: what `identity` gave for the options already.
        """
        ...


__all__ = ["Identity", "Target"]
