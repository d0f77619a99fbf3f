"""LM errors as DSPy raises them, whichever version; what a version does not tell apart, we do."""

from typing import Any

from dspy.utils import exceptions as known
from dspy.utils.exceptions import ContextWindowExceededError

from python_bridge.engine.compat.lm15 import lm15

_ATTRIBUTES = ("provider", "provider_code", "status", "request_id", "retry_after")
# More special ones first.
_NAMES = (
    ("ContextLengthError", "ContextWindowExceededError", "context_window_exceeded"),
    ("AuthError", "LMAuthError", "auth"),
    ("BillingError", "LMBillingError", "billing"),
    ("RateLimitError", "LMRateLimitError", "rate_limit"),
    ("UnsupportedModelError", "LMUnsupportedModelError", "unsupported_model"),
    ("InvalidRequestError", "LMInvalidRequestError", "invalid_request"),
    ("TimeoutError", "LMTimeoutError", "timeout"),
    ("ServerError", "LMServerError", "server"),
    ("TransportError", "LMTransportError", "transport"),
    ("ProviderError", "LMProviderError", "provider"),
)
_MAY_PASS = {"rate_limit", "timeout", "server", "transport"}


class _OwnLMError(Exception):
    """`dspy.LMError` for versions without it."""

    def __init__(self, message: str = "", *, code: str = "lm_error", model: str | None = None, **about: Any) -> None:
        Exception.__init__(self, f"[{model}] {message}" if model else message)
        self.message, self.code, self.model = message, code, model
        for name in _ATTRIBUTES:
            setattr(self, name, about.get(name))


class _OwnContextWindowExceededError(_OwnLMError, ContextWindowExceededError):
    """Both: adapters and modules know the second one."""


LMError: Any = getattr(known, "LMError", _OwnLMError)


def wrap_error(error: Exception, *, model: str, provider: str | None = None) -> Exception:
    """Return the public DSPy error for what a wire raised; public ones as they are."""
    try:
        from dspy.clients.errors import wrap_error as wrap
    except ImportError:
        return _wrapped(error, model, provider)
    return wrap(error, model=model, provider=provider)


def _wrapped(error: Exception, model: str, provider: str | None) -> Exception:
    if isinstance(error, LMError | Warning | ImportError):
        return error
    found = next((row for row in _NAMES if isinstance(error, getattr(lm15, row[0]))), (None, "LMUnexpectedError", ""))
    about: dict[str, Any] = {name: getattr(error, name, None) for name in _ATTRIBUTES}
    about |= {"message": getattr(error, "message", str(error)), "model": model}
    about["provider"] = about["provider"] or provider
    if LMError is not _OwnLMError:
        return getattr(known, found[1])(**about)
    own = _OwnContextWindowExceededError if found[0] == "ContextLengthError" else _OwnLMError
    return own(code=found[2] or "unexpected", **about)


def is_retryable(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if (judge := getattr(known, "is_retryable_lm_error", None)) is not None:
        return judge(error)
    return isinstance(error, LMError) and getattr(error, "code", None) in _MAY_PASS


__all__ = ["LMError", "is_retryable", "wrap_error"]
