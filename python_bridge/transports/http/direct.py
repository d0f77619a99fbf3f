"""The way past the framework for plain executions: most requests are these, and its routing costs more than ours."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from python_bridge.errors import BridgeError
from python_bridge.transports.http import bodies
from python_bridge.transports.http.api import PREFIX, Api
from python_bridge.transports.http.problems import problem
from python_bridge.transports.http.schemas import ExecuteRequest

_PATH = f"{PREFIX}/execute"
_JSON = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_KEY = re.compile(rb"[\x21-\x7e]{1,256}")
_validate = ExecuteRequest.__pydantic_validator__.validate_python


class Direct:
    """ASGI middleware that answers `POST …/execute`.

    A request that is not plainly a valid one goes on to the application with its body, so there is one place that
    tells what is wrong with it.
    """

    def __init__(self, app: ASGIApp, api: Api) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not _is_plain(scope, headers):
            await self._app(scope, receive, send)
            return
        messages = await _read(receive)
        if (asked := _asked(messages)) is None:
            await self._app(scope, _again(messages, receive), send)
            return
        await self._answer(asked, scope, headers, receive, send)

    async def _answer(
        self, asked: ExecuteRequest, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        state = scope["state"]
        key, caller = headers.get(b"idempotency-key"), headers.get(b"authorization", b"")
        try:
            body, replayed = await self._api.once(
                None if key is None else key.decode("ascii"),
                caller,
                f"{_PATH} 200",
                asked,
                lambda: self._api.execute(asked, state["given_request_id"], receive),
            )
        except BridgeError as error:
            await problem(error, state["request_id"])(scope, receive, send)
            return
        shown = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        if replayed:
            shown.insert(0, (b"idempotent-replayed", b"true"))
        await send({"type": "http.response.start", "status": 200, "headers": shown})
        await send({"type": "http.response.body", "body": body})


def _is_plain(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    if scope.get("root_path") or headers.get(b"content-type") not in _JSON:
        return False
    if (key := headers.get(b"idempotency-key")) is not None and not _KEY.fullmatch(key):
        return False
    return len(headers) == len(scope["headers"])  # what stands there twice is the framework's to judge


async def _read(receive: Receive) -> list[Message | Exception]:
    """Return what came of the body; what failed is the last one."""
    messages: list[Message | Exception] = []
    while True:
        try:
            message = await receive()
        except Exception as error:
            return [*messages, error]
        messages.append(message)
        if not message.get("more_body"):
            return messages


def _asked(messages: list[Message | Exception]) -> ExecuteRequest | None:
    parts: list[bytes] = []
    for message in messages:
        if isinstance(message, Exception) or message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
    try:
        return _validate(bodies.read(b"".join(parts) if len(parts) > 1 else parts[0]))
    except (BridgeError, ValueError):
        return None


def _again(messages: list[Message | Exception], receive: Receive) -> Receive:
    left = iter(messages)

    async def read() -> Message:
        message = next(left, None)
        if isinstance(message, Exception):
            raise message
        return await receive() if message is None else message

    return read


__all__ = ["Direct"]
