"""One short question to an LM, to see whether it answers at all."""

import asyncio
import time
from typing import Any

import dspy

from python_bridge.engine.failures import to_bridge_error
from python_bridge.engine.interface import CallContext
from python_bridge.engine.lms.registry import LmRegistry
from python_bridge.engine.scope import CallScope, enter_scope, leave_scope

_MESSAGES = [{"role": "user", "content": "Answer with the one word OK."}]


async def probe(lms: LmRegistry, name: str | None, context: CallContext) -> dict[str, Any]:
    """Ask the LM called `name` (``None``: the default one): `{ok, lm, model, latency_ms, usage, cost}`.

    What it answers does not matter, only that it does.

    Raises:
        BridgeError: `not_found` for unknown names, `lm_error` as the LM gave it.
    """
    name = name or lms.default_name
    lm = lms.get(name)
    scope = CallScope(context, asyncio.get_running_loop())
    token = enter_scope(scope)
    started = time.perf_counter()
    try:
        with dspy.context(lm=lm, usage_tracker=scope.usage, disable_history=True, trace=None, send_stream=None):
            await lm.acall(messages=_MESSAGES)
    except Exception as error:
        raise to_bridge_error(error) from error
    finally:
        scope.end()
        leave_scope(token)
    return {
        "ok": True,
        "lm": name,
        "model": lm.model,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        "usage": scope.usage.to_map(),
        "cost": scope.usage.cost,
    }


__all__ = ["probe"]
