"""Calls of programs within a session: its history, LM and programs go in, the exchange and its usage are kept."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cachetools import LRUCache

from python_bridge.engine.interface import CallOptions, CallResult, CompiledProgram, ToolCaller
from python_bridge.errors import BridgeError
from python_bridge.services.sessions.codec import encode
from python_bridge.services.sessions.manager import Ref, SessionManager
from python_bridge.services.sessions.state import SessionProgram, SessionState

_HISTORY_TYPES = frozenset({"History", "dspy.History"})

Run = Callable[[CompiledProgram, dict[str, Any], CallOptions], Awaitable[tuple[CallResult, dict[str, Any]]]]
"""Runs a program with inputs and options, and gives what it gave, with the answer to the client."""


class Programs(Protocol):
    """What calls within sessions need of the worker's programs."""

    def create(self, program: Mapping[str, Any]) -> str: ...

    def compiled(self, module: str) -> CompiledProgram: ...

    def source(self, module: str) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A program made ready, its JSON, and the input that takes the session's history."""

    compiled: CompiledProgram
    program: Mapping[str, Any]
    history_field: str | None


class SessionCalls:
    """Runs programs within the sessions of one manager."""

    def __init__(self, manager: SessionManager, programs: Programs) -> None:
        self._manager = manager
        self._programs = programs
        self._chosen: LRUCache[int, tuple[object, _Chosen]] = LRUCache(maxsize=256)

    async def call(
        self, ref: Ref, module: str, inputs: dict[str, Any], options: CallOptions, run: Run
    ) -> dict[str, Any]:
        """Run a program in its turn within the session; what it gave is committed before it is returned.

        Raises:
            BridgeError: what the session, the program or the store raises; nothing is changed then.
        """

        async def work(state: SessionState) -> tuple[SessionState, Any]:
            chosen = self._choose(state, module)
            result, answer = await run(chosen.compiled, _fill(inputs, state, chosen), _defaults(options, state, chosen))
            return _after(state, inputs, chosen, result), answer

        return await self._manager.run(ref, work)

    def in_tool(self, ref: Ref, call_tool: ToolCaller) -> ToolCaller:
        """Return `call_tool` such that the session knows when its call waits for the client."""

        async def call(tool: str, arguments: dict[str, Any], call_id: str, timeout_s: float | None) -> Any:
            with self._manager.turns.in_tool(ref.key):
                return await call_tool(tool, arguments, call_id, timeout_s)

        return call

    def _choose(self, state: SessionState, module: str) -> _Chosen:
        kept = state.programs.get(module)
        compiled = self._compiled(module, kept) if kept is None or kept.state is None else None
        found = self._chosen.get(id(kept if compiled is None else compiled))
        if found is not None and found[0] is (kept if compiled is None else compiled):
            return found[1]
        if compiled is None and kept is not None:  # this session's state lies over the program's own
            module = self._programs.create(kept.effective())
            compiled = self._programs.compiled(module)
            chosen = _Chosen(compiled, kept.effective(), _history_field(compiled, kept.program))
            self._chosen[id(kept)] = (kept, chosen)
            return chosen
        assert compiled is not None  # noqa: S101 - narrows for the type checker
        program = self._programs.source(module)
        chosen = _Chosen(compiled, program, _history_field(compiled, program))
        self._chosen[id(compiled)] = (compiled, chosen)
        return chosen

    def _compiled(self, module: str, kept: SessionProgram | None) -> CompiledProgram:
        try:
            return self._programs.compiled(module)
        except BridgeError as error:
            if error.need != "program" or kept is None:
                raise
        # The session brings its programs along to workers that have never seen them.
        return self._programs.compiled(self._programs.create(kept.program))


def _history_field(compiled: CompiledProgram, program: Mapping[str, Any]) -> str | None:
    """Return the input of type `History`, or the one that the program's metadata name as `history`."""
    inputs: list[dict[str, Any]] = compiled.describe()["inputs"]
    metadata: dict[str, Any] = program.get("metadata") or {}
    named: str | None = metadata.get("history")
    if named is not None and any(field["name"] == named for field in inputs):
        return named
    return next((field["name"] for field in inputs if field["type"] in _HISTORY_TYPES), None)


def _fill(inputs: dict[str, Any], state: SessionState, chosen: _Chosen) -> dict[str, Any]:
    name = chosen.history_field
    if name is None or name in inputs:
        return inputs
    return {**inputs, name: {"messages": state.history.messages()}}


def _defaults(options: CallOptions, state: SessionState, chosen: _Chosen) -> CallOptions:
    lm = options.lm if options.lm is not None or chosen.program.get("lm") else state.lm
    adapter = options.adapter if options.adapter is not None or chosen.program.get("adapter") else state.adapter
    return options if lm is options.lm and adapter is options.adapter else replace(options, lm=lm, adapter=adapter)


def _after(state: SessionState, inputs: dict[str, Any], chosen: _Chosen, result: CallResult) -> SessionState:
    asked = {name: value for name, value in inputs.items() if name != chosen.history_field}
    fields = {**asked, **result.outputs}
    return state.with_entry(fields, encode(fields), state.usage.plus(result.usage, result.cost))


__all__ = ["Programs", "Run", "SessionCalls"]
