"""How the OpenAI-compatible server answers one request: data, so that it can be scripted from another process."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

_ERRORS = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", "overloaded", "The engine is currently overloaded."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One answer, or one way to fail. Without any field: an answer of the embedded extractive LM.

    Attributes:
        text: the completion as it is.
        fields: output fields, written in the format of the adapter that asks.
        tool_calls: `[{"name": …, "arguments": {…}}]`.
        finish_reason: ``"stop"``, ``"length"``, ``"content_filter"``; ``"tool_calls"`` by itself.
        usage: prompt and completion tokens; ``None`` counts words and punctuation marks.
        status: above 299 an error in OpenAI's shape.
        error: replaces members (`message`, `type`, `code`) of that error.
        retry_after: seconds, as a `Retry-After` header.
        headers: more response headers.
        stall: nothing is sent, not even a status, until the request is released.
        stall_after: the stream stops after so many pieces until it is released.
        disconnect: the connection is cut without an answer.
        truncate: the connection is cut after so many bytes of the body, whose full length was announced.
        cut_after: the stream is cut after so many pieces, between two events.
        half_event: with `cut_after`: the cut is within the next event.
        endless: the stream repeats its pieces until the client goes away.
        pace: seconds between the pieces of a stream.
        times: how many requests in turn are answered so.
    """

    text: str | None = None
    fields: Mapping[str, Any] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None
    status: int = 200
    error: Mapping[str, Any] | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] | None = None
    stall: bool = False
    stall_after: int | None = None
    disconnect: bool = False
    truncate: int | None = None
    cut_after: int | None = None
    half_event: bool = False
    endless: bool = False
    pace: float = 0.0
    times: int = 1

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Behaviour":
        """Read a behaviour from JSON.

        Raises:
            ValueError: a member is unknown; the message names the known ones.
        """
        names = [field.name for field in fields(cls)]
        if unknown := sorted(data.keys() - set(names)):
            raise ValueError(f"unknown members of a behaviour: {', '.join(unknown)}; known are {', '.join(names)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        return cls(**values)

    def repeated(self) -> "Behaviour":
        """Return the behaviour for one time less."""
        return replace(self, times=self.times - 1)

    def error_body(self) -> dict[str, Any]:
        """Return the body of an error answer."""
        kind, code, message = _ERRORS.get(self.status, ("server_error", None, f"Scripted status {self.status}."))
        return {"error": {"message": message, "type": kind, "param": None, "code": code, **(self.error or {})}}


__all__ = ["Behaviour"]
