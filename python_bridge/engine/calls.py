"""One call of a program, apart from all others: its LM, adapter, usage and stream hold in its own context only."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from python_bridge.engine.adapters import adapter as adapter_named
from python_bridge.engine.embedders.registry import EmbedderRegistry
from python_bridge.engine.failures import to_bridge_error
from python_bridge.engine.fresh import fresh
from python_bridge.engine.interface import CallContext, CallResult, Spending
from python_bridge.engine.lms.registry import LmRegistry
from python_bridge.engine.modules.base import BuiltModule
from python_bridge.engine.outputs import as_text, prediction_completions, prediction_outputs, to_plain
from python_bridge.engine.scope import CallScope, enter_scope, leave_scope
from python_bridge.engine.streaming.sink import StreamSink
from python_bridge.engine.threads import Threads
from python_bridge.errors import BridgeError


@dataclass(frozen=True, slots=True)
class Runner:
    """What the calls of one engine share.

    Attributes:
        adapter: name of the adapter of programs and calls that name none.
        threads: where modules run that have no asynchronous form.
    """

    lms: LmRegistry
    embedders: EmbedderRegistry
    adapter: str
    threads: Threads


async def run(
    runner: Runner, built: BuiltModule, inputs: Mapping[str, Any], lm: Any, adapter: Any, context: CallContext
) -> CallResult:
    """Run a module once on checked inputs.

    Args:
        lm: ``None`` where every predictor has one of its own.
        adapter: a name, or an adapter of the caller's own.

    Raises:
        BridgeError: what the module raised, as an error of the closed set.
    """
    chosen = adapter_named(adapter) if isinstance(adapter, str) else adapter
    module = built.make()
    scope = CallScope(context, asyncio.get_running_loop())
    if context.emit is not None:
        scope.stream = _sink(context.emit, adapter if isinstance(adapter, str) else "chat", module)
    settings = _settings(scope, built, lm, chosen)
    if context.instruments is not None:
        scope.usage = settings["usage_tracker"] = context.instruments.usage
        settings |= context.instruments.settings()
    if context.leave_out is not None:
        given: list[Any] = settings.get("callbacks") or dspy.settings.get("callbacks") or []
        if given:
            settings["callbacks"] = [callback for callback in given if not context.leave_out(callback)]
    spending = context.spending or Spending()
    spending.follow(scope.usage)
    token = enter_scope(scope)
    try:
        with dspy.context(**settings):
            values = fresh(inputs) if built.own_code else inputs
            prediction = await _invoke(runner, built.asynchronous and not blocks(lm), module, values)
        return await _result(built, prediction, scope, lm, adapter)
    except BridgeError as error:
        error.details = {**error.details, **spending.told()}
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as raised:
        if isinstance(raised, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # somebody's Ctrl-C; elsewhere the program itself raised it, and a loop would end of it
        error = to_bridge_error(raised)
        error.details = {**error.details, **spending.told()}
        raise error from raised
    finally:
        scope.end()
        leave_scope(token)


def _settings(scope: CallScope, built: BuiltModule, lm: Any, adapter: Any) -> dict[str, Any]:
    return {
        "lm": lm,
        "adapter": adapter,
        "usage_tracker": scope.usage,
        "disable_history": True,
        "trace": [] if built.trace else None,
        "send_stream": scope.stream if built.streams else None,
        "stream_listeners": [],
        "warn_on_type_mismatch": False,
    }


def _sink(emit: Any, adapter: str, module: dspy.Module) -> StreamSink:
    return StreamSink(emit, adapter, {id(predictor): name for name, predictor in module.named_predictors()})


def blocks(lm: Any) -> bool:
    """Whether an LM has no asynchronous form: a class of the caller's own with `forward` alone."""
    kind: Any = type(lm)
    if getattr(kind, "aforward", None) is not dspy.BaseLM.aforward or kind.acall is not dspy.BaseLM.acall:
        return False
    return kind.forward is not dspy.BaseLM.forward


async def _invoke(runner: Runner, asynchronous: bool, module: Any, inputs: Mapping[str, Any]) -> Any:
    if asynchronous:
        return await module.acall(**inputs)
    return await runner.threads.run(lambda: module(**inputs))


async def _result(built: BuiltModule, prediction: Any, scope: CallScope, lm: Any, adapter: Any) -> CallResult:
    fields = built.outputs
    outputs = prediction_outputs(prediction, fields)
    if built.process_output is not None:
        outputs = _processed(built.process_output, outputs)
    if scope.stream is not None:
        await scope.stream.complete({name: as_text(outputs[name]) for name in fields if name in outputs})
    return CallResult(
        outputs=outputs,
        completions=prediction_completions(prediction, fields),
        usage=scope.usage.to_map(),
        cost=scope.usage.cost,
        model=getattr(lm, "model", None),
        adapter=adapter if isinstance(adapter, str) else type(adapter).__name__,
        tool_calls=scope.tool_calls,
    )


def _processed(hook: Any, outputs: dict[str, Any]) -> dict[str, Any]:
    """Let a registered signature class change its outputs."""
    changed = hook(outputs)
    if not isinstance(changed, Mapping):
        raise BridgeError("program_error", f"process_output must give a map, not {type(changed).__name__}")
    return to_plain(dict(changed))


__all__ = ["Runner", "run"]
