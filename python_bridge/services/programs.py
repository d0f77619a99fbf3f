"""The programs that a worker knows, by hash: bounded, the least recently used go first."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from python_bridge.engine.interface import CompiledProgram, Engine
from python_bridge.errors import BridgeError


class ProgramCache:
    """Programs and what the engine made of them. Compiling waits for the first use.

    Args:
        max_programs: how many are kept; clients send a program again when it is gone.
    """

    def __init__(self, engine: Engine, max_programs: int) -> None:
        self._engine = engine
        self._max = max_programs
        self._entries: OrderedDict[str, tuple[Mapping[str, Any], CompiledProgram | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, program: Mapping[str, Any]) -> str:
        """Keep a program and return its hash.

        Raises:
            BridgeError: `invalid_request` for a wrong shape.
        """
        module = self._engine.hash_program(program)
        if module in self._entries:
            self._entries.move_to_end(module)
        else:
            self._entries[module] = (program, None)
            if len(self._entries) > self._max:
                self._entries.popitem(last=False)
        return module

    def compiled(self, module: str) -> CompiledProgram:
        """Return a program ready to run.

        Raises:
            BridgeError: `not_found` with ``need = "program"``, or what the engine says of the program.
        """
        entry = self._entries.get(module)
        if entry is None:
            raise _not_here(module)
        self._entries.move_to_end(module)
        program, compiled = entry
        if compiled is None:
            compiled = self._engine.compile(program)
            self._entries[module] = (program, compiled)
        return compiled

    def source(self, module: str) -> Mapping[str, Any]:
        """Return the JSON of a program.

        Raises:
            BridgeError: `not_found` with ``need = "program"``.
        """
        if (entry := self._entries.get(module)) is None:
            raise _not_here(module)
        return entry[0]

    def create(self, program: Mapping[str, Any]) -> str:
        """Keep a program, make it ready, and return its hash; a program with errors is not kept.

        Raises:
            BridgeError: what the engine says of the program.
        """
        module = self.put(program)
        try:
            self.compiled(module)
        except BridgeError:
            self._entries.pop(module, None)
            raise
        return module

    def drop(self, module: str) -> bool:
        """Forget a program; return whether it was known."""
        return self._entries.pop(module, None) is not None


def _not_here(module: str) -> BridgeError:
    return BridgeError("not_found", f"no program {module[:80]!r} here; send program.put and repeat", need="program")


__all__ = ["ProgramCache"]
