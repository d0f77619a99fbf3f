"""Bodies: strict JSON in, JSON of anything out; what JSON lacks has a `$type` tag, as everywhere else."""

import json
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from python_bridge.errors import BridgeError
from python_bridge.wire import json as wire_json
from python_bridge.wire.json_tags import Untagger
from python_bridge.wire.told import encode_told
from python_bridge.wire.values import DEFAULT_LIMITS

_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_JSON_TYPE = re.compile(r"\s*application/([\w.!#$&^-]+\+)?json\s*(;.*)?", re.IGNORECASE)


def read(body: bytes) -> Any:
    """Return the value of a request's JSON. Integers keep all their digits.

    Raises:
        BridgeError: `invalid_request` for what is no JSON (such as NaN), repeats a key or has half a surrogate pair;
            `limit_exceeded`.
    """
    try:
        return _read_exactly(body) if _LONG_INTEGER.search(body) else wire_json.decode(body)
    except BridgeError as error:
        kind = "invalid_request" if error.kind == "protocol_error" else error.kind
        raise BridgeError(kind, error.message, details=error.details) from None


def dump(value: Any) -> str:
    """Return compact JSON of whatever an execution gave."""
    return encode_told(value).decode()


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response of JSON."""
    return Response(encode_told(value), status, headers, media_type="application/json")


class JsonRoute(APIRoute):
    """A route whose body is read by `read`."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return what answers a request."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if self.body_field is not None:
                _check_type(request)
            return await handle(_JsonRequest(request.scope, request.receive))

        return checked


class _JsonRequest(Request):
    async def json(self) -> Any:
        return read(await self.body())


def _check_type(request: Request) -> None:
    headers = request.headers
    empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if not empty and _JSON_TYPE.fullmatch(given := headers.get("content-type", "")) is None:
        raise HTTPException(415, f"the body must be JSON; send Content-Type: application/json, not {given!r:.100}")


def _read_exactly(body: bytes) -> Any:
    """Read JSON with integers that orjson would make floats of."""
    try:
        value = json.loads(
            body.decode(), parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_without_repeats
        )
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BridgeError("limit_exceeded", "the body is nested too deep; make it flatter") from None
    except ValueError as error:
        raise BridgeError("invalid_request", f"a body is no JSON: {error}") from None
    return Untagger(DEFAULT_LIMITS, []).value(value, 1)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text:.30} is too large for a float")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(read := dict(pairs)) < len(pairs):
        raise ValueError("a JSON object has the same key twice")
    return read


__all__ = ["JsonRoute", "answer", "dump", "read"]
