"""Errors as problem details (RFC 9457), with the kinds of the closed set."""

import math
from collections.abc import Container
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from python_bridge.errors import BridgeError
from python_bridge.services.faults import to_bridge_error
from python_bridge.transports.http.schemas import Problem
from python_bridge.wire.told import encode_told

_BY_STATUS = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "invalid_request",
    413: "limit_exceeded",
    415: "invalid_request",
    422: "invalid_input",
    429: "overloaded",
    503: "overloaded",
}


def problem(error: BridgeError, request_id: str | None, status: int | None = None, **more: Any) -> Response:
    """Return the response for an error; `status` where HTTP knows a better one than the table."""
    code = status or error.spec.http
    body = {
        "type": f"urn:dspex:error:{error.kind}",
        "title": error.spec.summary,
        "status": code,
        "detail": error.message,
        "kind": error.kind,
        "retryable": error.retryable,
        "hint": error.hint,
        "request_id": request_id,
        **({"details": error.details} if error.details else {}),
        **more,
    }
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if code in (408, 413):  # the rest of the body is not waited for
        headers["Connection"] = "close"
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(encode_told(body), code, headers, media_type="application/problem+json")


def stopped() -> BridgeError:
    """Return the error of a request that outlasts the server."""
    text = "the server was stopped before the work was done; send the request again"
    return BridgeError("unavailable", text, retry_after=1.0)


def install(app: FastAPI) -> None:
    """Let every failure of `app` leave as problem details."""

    @app.exception_handler(BridgeError)
    async def _bridge(request: Request, error: BridgeError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return problem(error, _request_id(request))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:  # pyright: ignore[reportUnusedFunction]
        found = [{"path": [str(part) for part in entry["loc"]], "message": entry["msg"]} for entry in error.errors()]
        where = "; ".join(f"{'.'.join(entry['path'])}: {entry['message']}" for entry in found[:5])
        shown = BridgeError("invalid_input", f"the request does not fit: {where}")
        return problem(shown, _request_id(request), 422, errors=found)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:  # pyright: ignore[reportUnusedFunction]
        if isinstance(error.__cause__, BridgeError):  # raised while the body was read
            late = error.__cause__.kind == "timeout"
            return problem(error.__cause__, _request_id(request), 408 if late else None)
        kind: Any = _BY_STATUS.get(error.status_code, "invalid_request")
        response = problem(BridgeError(kind, str(error.detail)), _request_id(request), error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def _other(request: Request, error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        return problem(to_bridge_error(error, f"{request.method} {request.url.path}"), _request_id(request))


def describe(document: dict[str, Any], open_paths: Container[str] | None) -> dict[str, Any]:
    """Tell in an OpenAPI document that every failure is `application/problem+json`, and what needs a token.

    Args:
        open_paths: those that need none; ``None`` when nothing does.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    if open_paths is not None:
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for name, path in document.get("paths", {}).items():
        for operation in path.values():
            if open_paths is not None and name not in open_paths:
                operation["security"] = [{"bearer": []}]
            responses = operation["responses"]
            for status in ("422", "default"):
                responses[status] = {"description": "A problem", "content": content}
    return document


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


__all__ = ["describe", "install", "problem", "stopped"]
