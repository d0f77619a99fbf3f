"""What a kind of module is to the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import dspy

from python_bridge.engine.modules.options import Option
from python_bridge.errors import BridgeError

if TYPE_CHECKING:
    from python_bridge.engine.embedders.registry import Embed
    from python_bridge.engine.modules.composite import Child

# DSPy's `Predict` takes inputs of these names for its own: it would hand them control of the LM.
RESERVED_INPUTS = frozenset({"config", "lm", "signature", "demos", "new_signature", "prediction", "self"})


@dataclass(slots=True)
class BuiltModule:
    """A program made ready.

    Attributes:
        signature: inputs and outputs of the program as a whole.
        make: gives the module for one call; the same one each time where it keeps no state between calls.
        asynchronous: whether `acall` runs without a thread.
        params: LM parameters of the program's `config`.
        config: the module's own options, with defaults.
        trace: whether DSPy needs a trace to run it.
        streams: whether its LM calls may stream; a prediction that is chosen among several must not.
        own_code: whether inputs go to code of the server's own first, and not into a prompt.
        outputs: names of the signature's outputs.
        process_output: of a registered signature class: changes the outputs; ``None`` for others.
    """

    signature: Any
    make: Callable[[], dspy.Module]
    asynchronous: bool
    params: dict[str, Any]
    config: dict[str, Any]
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    trace: bool = False
    streams: bool = True
    own_code: bool = False
    outputs: tuple[str, ...] = field(init=False)
    process_output: Callable[[dict[str, Any]], Any] | None = field(init=False)

    def __post_init__(self) -> None:
        self.outputs = tuple(self.signature.output_fields)
        self.process_output = getattr(self.signature, "process_output", None)


class Build(Protocol):
    """Makes a module of a program whose shape is right."""

    def __call__(self, program: Mapping[str, Any], builder: "Builder") -> BuiltModule: ...


class Builder(Protocol):
    """What kinds need of the engine to build themselves."""

    def signature(self, program: Mapping[str, Any]) -> Any:
        """Return the class of the program's signature."""
        ...

    def child(self, program: Mapping[str, Any], name: str) -> "Child":
        """Return the child program called `name`."""
        ...

    def child_of(self, program: Mapping[str, Any], path: str) -> "Child":
        """Return another program that stands inside of this one at `path`."""
        ...

    def imported(self, path: str) -> Any:
        """Return what the server's settings allow to import from `path`."""
        ...

    def embedder(self, name: str | None, dimensions: int | None = None) -> "Embed":
        """Return the embedder called `name` in the settings."""
        ...

    def tools(self, program: Mapping[str, Any]) -> list[dspy.Tool]:
        """Return the client's tools that the program names."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of program: how it is built and which members it takes beside the common ones."""

    build: Build
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    members: frozenset[str] = frozenset({"signature"})
    reserved: frozenset[str] = frozenset()


def check_names(signature: Any, reserved: frozenset[str]) -> None:
    """Refuse input names that the module would take for its own, and programs without outputs.

    Raises:
        BridgeError: `signature_error`.
    """
    taken = sorted((RESERVED_INPUTS | reserved) & set(signature.input_fields))
    if taken:
        raise BridgeError(
            "signature_error",
            f"the input `{taken[0]}` has a name that DSPy keeps for itself; call it `{taken[0]}_text` or the like",
            details={"names": taken},
        )
    if not signature.output_fields:
        raise BridgeError("signature_error", "this signature has no output; name at least one after `->`")


__all__ = ["RESERVED_INPUTS", "Build", "Builder", "BuiltModule", "Kind", "check_names"]
