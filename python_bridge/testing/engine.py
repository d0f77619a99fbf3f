"""An engine without dspy whose programs do what their inputs tell them: for tests of clients, pools and transports.

A worker runs with it as ``python-bridge worker --engine scripted``. A program is any map with a `kind` (text); a
call's input `script` is a list of steps, each a map with one of

===============  ===========================================================================================
``emit``         send this stream event (when the caller streams)
``tool``         let the client run this tool with ``arguments`` (and ``timeout_s``); its value joins ``tools``
``stall``        wait until the call is cancelled
``stubborn``     wait, ignoring so many cancellations
``sleep_ms``     wait so long
``block_ms``     hold the event loop so long
``hold_gil_ms``  hold the interpreter's lock so long, as C code can, in another thread than the loop's
``fill_mb``      take so much memory, and keep it for the rest of the call
``raise``        fail with this kind of error (``message``, ``details``), or with a ``defect``
``print``        print this text to standard output
``exit``         end the process at once with this status
``answer``       give this as the output `answer`
===============  ===========================================================================================

Without a script the output `answer` is the inputs.
"""

import asyncio
import contextlib
import ctypes
import hashlib
import json
import os
import time
from collections.abc import Mapping
from typing import Any

from python_bridge.engine.interface import CallContext, CallOptions, CallResult
from python_bridge.engine.targets.interface import Identity
from python_bridge.errors import ERROR_KINDS, BridgeError
from python_bridge.settings import Settings


class ScriptedEngine:
    """An `Engine` whose programs follow the scripts of their calls.

    Attributes:
        compiled: how often a program was compiled.
    """

    dspy_version = "scripted"
    learning = None

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.compiled = 0
        self.closed = False

    abandoned_threads = 0

    @property
    def features(self) -> list[str]:
        return ["stream", "tools", "kind:scripted"]

    def hash_program(self, program: Mapping[str, Any]) -> str:
        if not isinstance(program.get("kind"), str):
            raise BridgeError("invalid_request", "a program needs a kind (text)")
        text = json.dumps(program, sort_keys=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def compile(self, program: Mapping[str, Any]) -> "ScriptedProgram":
        if program["kind"] == "broken":
            raise BridgeError("signature_error", "this program is broken, as its kind says")
        self.compiled += 1
        return ScriptedProgram(program)

    async def warm_up(self) -> None:
        if self.settings.default_lm == "unavailable":
            raise BridgeError("unavailable", "the scripted engine was told to fail (default_lm = unavailable)")

    async def close(self) -> None:
        self.closed = True


class ScriptedProgram:
    """A program that does what the `script` of its inputs says."""

    def __init__(self, program: Mapping[str, Any]) -> None:
        self._program = program

    name = "scripted"
    signature = "anything -> answer"
    required: tuple[str, ...] = ()
    asynchronous = True
    asks_client = False

    @property
    def target(self) -> "ScriptedProgram":
        return self

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return dict(inputs)

    def identity(self, options: CallOptions) -> Identity:
        program = json.dumps(self._program, sort_keys=True, default=repr)
        return Identity(program, f"{program}|{options.lm}|{options.adapter}", True)

    def describe(self) -> dict[str, Any]:
        return {"kind": self._program["kind"], "inputs": [], "outputs": [], "config": self._program.get("config", {})}

    async def call(
        self, inputs: Mapping[str, Any], options: CallOptions, context: CallContext, identity: Identity | None = None
    ) -> CallResult:
        run = _Run(context, inputs)
        script: list[Any] = inputs.get("script", [])
        for step in script:
            await run.step(step)
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "lm_calls": 0, "by_model": {}}
        model, adapter = options.lm or "scripted", options.adapter or "chat"
        return CallResult(run.outputs, None, usage, None, model, adapter, tool_calls=len(run.outputs.get("tools", ())))


class _Run:
    def __init__(self, context: CallContext, inputs: Mapping[str, Any]) -> None:
        self.context = context
        self.outputs: dict[str, Any] = {"answer": inputs}

    async def step(self, step: Mapping[str, Any]) -> None:
        for name in step:
            if (act := getattr(self, f"_{name}", None)) is not None:
                await act(step)
                return
        raise BridgeError("invalid_input", f"no known step in {dict(step)!r}")

    async def _emit(self, step: Mapping[str, Any]) -> None:
        if self.context.emit is not None:
            await self.context.emit(step["emit"])

    async def _tool(self, step: Mapping[str, Any]) -> None:
        if self.context.call_tool is None:
            raise BridgeError("tool_error", "the client answers no tool calls", details={"tool": step["tool"]})
        call_id = f"call-{len(self.outputs)}"
        arguments = step.get("arguments", {})
        value = await self.context.call_tool(step["tool"], arguments, call_id, step.get("timeout_s"))
        self.outputs.setdefault("tools", []).append(value)

    async def _stall(self, step: Mapping[str, Any]) -> None:
        await asyncio.Event().wait()

    async def _stubborn(self, step: Mapping[str, Any]) -> None:
        for _ in range(step["stubborn"]):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def _sleep_ms(self, step: Mapping[str, Any]) -> None:
        await asyncio.sleep(step["sleep_ms"] / 1000)

    async def _block_ms(self, step: Mapping[str, Any]) -> None:
        time.sleep(step["block_ms"] / 1000)  # noqa: ASYNC251 - to hold the loop is what the step is for

    async def _hold_gil_ms(self, step: Mapping[str, Any]) -> None:
        usleep = ctypes.PyDLL(None).usleep  # unlike those of a CDLL, its functions keep the lock
        await asyncio.to_thread(usleep, ctypes.c_uint(step["hold_gil_ms"] * 1000))

    async def _fill_mb(self, step: Mapping[str, Any]) -> None:
        self.filling = os.urandom(1 << 20) * step["fill_mb"]

    async def _raise(self, step: Mapping[str, Any]) -> None:
        kind, message = step["raise"], step.get("message", "as scripted")
        if kind not in ERROR_KINDS:
            raise RuntimeError(message)
        raise BridgeError(kind, message, details=step.get("details"))

    async def _print(self, step: Mapping[str, Any]) -> None:
        print(step["print"], flush=True)  # noqa: T201 - a stray print is what the step is for

    async def _exit(self, step: Mapping[str, Any]) -> None:
        os._exit(step["exit"])

    async def _answer(self, step: Mapping[str, Any]) -> None:
        self.outputs["answer"] = step["answer"]


__all__ = ["ScriptedEngine", "ScriptedProgram"]
