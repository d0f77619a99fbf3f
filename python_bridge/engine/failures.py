"""DSPy's exceptions → the closed set of errors. Messages keep what the LM's provider said, never keys."""

import asyncio
import re
from typing import Any

from dspy.utils.exceptions import AdapterParseError

from python_bridge.engine.compat.errors import LMError, is_retryable
from python_bridge.engine.printable import printable
from python_bridge.engine.secrets import HIDDEN, hide
from python_bridge.errors import BridgeError

_SECRET = re.compile(r"(?i)\b(sk-|key-|Bearer\s+)[A-Za-z0-9_\-]{6,}")
_SHOWN = 600


def to_bridge_error(error: BaseException) -> BridgeError:
    """Return the error of the closed set for what a program raised; a `BridgeError` is returned as it is.

    LM errors become `lm_error` with `details` of provider, model, status and code, and `retry_after` where the
    provider gave one. What an adapter could not read is an `lm_error` too: the LM answered in the wrong form.
    Anything else that the program raised is a `program_error`.
    """
    if isinstance(error, BridgeError):
        return error
    if (inner := _bridge_cause(error)) is not None:
        return inner
    if isinstance(error, AdapterParseError):
        return _unreadable(error)
    if isinstance(error, LMError):
        return _lm_error(error)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return BridgeError("lm_error", "the language model did not answer in time", retryable=True)
    text = clean(f"{type(error).__name__}: {error}")
    return BridgeError("program_error", f"the program raised {text}", details={"exception": type(error).__name__})


def _bridge_cause(error: BaseException) -> BridgeError | None:
    seen = 0
    cause = error.__cause__
    while cause is not None and seen < 16:
        if isinstance(cause, BridgeError):
            return cause
        cause, seen = cause.__cause__, seen + 1
    return None


def _lm_error(error: Any) -> BridgeError:
    details = {
        "provider": error.provider,
        "model": error.model,
        "status": error.status,
        "code": error.code,
        "provider_code": error.provider_code,
        "provider_request_id": error.request_id,
    }
    text = clean(error.message or str(error))
    where = f"the language model {error.model}" if error.model else "the language model"
    status = f" (status {error.status})" if error.status else ""
    return BridgeError(
        "lm_error",
        f"{where} failed{status}: {text}",
        retryable=is_retryable(error),
        retry_after=error.retry_after,
        details={name: _hidden(value) for name, value in details.items() if value is not None},
    )


def _unreadable(error: Any) -> BridgeError:
    fields = [*error.signature.output_fields] if error.signature is not None else []
    # The classes of `engine.adapters` are DSPy's own to whoever reads of them.
    adapter = error.adapter_name.removeprefix("Memo")
    response = clean(str(error.lm_response or ""))
    names = ", ".join(f"`{name}`" for name in fields)
    return BridgeError(
        "lm_error",
        f"the language model answered, but {adapter} cannot read the output fields {names} from it: "
        f"{_quoted(response)}. Use a stronger model, another adapter, or fewer and simpler fields.",
        retryable=False,
        details={"code": "adapter_parse_error", "adapter": adapter, "fields": fields, "response": response},
    )


def _quoted(text: str) -> str:
    return repr(text) if text else "an empty answer"


def _hidden(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def clean(text: str) -> str:
    """Shorten a foreign text, show its control characters, blot out the worker's keys and what looks like one."""
    text = printable(_SECRET.sub(HIDDEN, hide(text)))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


__all__ = ["clean", "to_bridge_error"]
