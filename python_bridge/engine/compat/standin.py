"""The part of `dspy.lm15` that this engine speaks, for versions of DSPy that do not have it: errors and requests."""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any


class LM15Error(Exception):
    """Base of what a wire raises; the attributes are those of `dspy.LMError`."""

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        provider_code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.provider_code = provider_code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class TransportError(LM15Error):
    """The connection failed."""


class StreamAssemblyError(LM15Error):
    """A stream ended before the answer was complete."""


class ProviderError(LM15Error):
    """The provider answered with an error."""


class AuthError(ProviderError):
    """401, 403."""


class BillingError(ProviderError):
    """402."""


class RateLimitError(ProviderError):
    """429."""


class TimeoutError(ProviderError, builtins.TimeoutError):  # noqa: A001 - the name that dspy.lm15 has
    """408, 504, or no answer in time."""


class InvalidRequestError(ProviderError):
    """Other 4xx."""


class ContextLengthError(InvalidRequestError):
    """The prompt is too long for the model."""


class UnsupportedModelError(InvalidRequestError):
    """404: there is no such model."""


class ServerError(ProviderError):
    """5xx, and answers that cannot be read."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text of a message."""

    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message: texts only."""

    role: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Request:
    """What a responder is asked."""

    model: str
    messages: Sequence[Message]
    system: str | None = None
    tools: Sequence[Any] = ()
    config: Any = None


Response = Any
_PARAMS = ("temperature", "max_tokens", "top_p", "stop", "response_format")
_NOT_PARAMS = {"model", "messages", "tools"}


def request_from_openai_chat(body: Mapping[str, Any]) -> Request:
    """Return the request of a chat completions body."""
    messages = [Message(item["role"], _parts(item.get("content"))) for item in body["messages"]]
    system = [part.text for item in messages if item.role == "system" for part in item.parts]
    talk = [item for item in messages if item.role != "system"]
    params = dict.fromkeys(_PARAMS) | {name: body[name] for name in body if name not in _NOT_PARAMS}
    return Request(body["model"], talk, "\n".join(system) or None, body.get("tools") or (), SimpleNamespace(**params))


def _parts(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [Part(content)]
    return [Part(item["text"]) for item in content or () if isinstance(item, dict) and "text" in item]


__all__ = [
    "AuthError",
    "BillingError",
    "ContextLengthError",
    "InvalidRequestError",
    "LM15Error",
    "Message",
    "Part",
    "ProviderError",
    "RateLimitError",
    "Request",
    "Response",
    "ServerError",
    "StreamAssemblyError",
    "TimeoutError",
    "TransportError",
    "UnsupportedModelError",
    "request_from_openai_chat",
]
