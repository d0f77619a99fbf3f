"""The HTTP library: imported when a client is made, its errors told as those of the closed set."""

from typing import TYPE_CHECKING, Any

from python_bridge.client.requests import PREFIX, Ask, authorization, check_base_url
from python_bridge.errors import BridgeError

if TYPE_CHECKING:
    import httpx

_CONNECT_S = 10.0


def library() -> Any:
    """Return httpx.

    Raises:
        BridgeError: `unavailable`, with the line that installs it.
    """
    try:
        import httpx
    except ImportError:
        text = "the client needs httpx, which is not installed; run: pip install 'python-bridge[client]'"
        raise BridgeError("unavailable", text, retryable=False) from None
    return httpx


def options(base_url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """Return what both kinds of httpx clients are made with."""
    headers = {"Authorization": authorization(token)} if token else {}
    return {"base_url": check_base_url(base_url) + PREFIX, "headers": headers, "timeout": waits(timeout)}


def waits(timeout: float) -> "httpx.Timeout":
    """Return the time-outs of a request: short to connect, `timeout` seconds (or for ever) to be answered."""
    return library().Timeout(_CONNECT_S, read=None if timeout == float("inf") else timeout, pool=None)


def request_of(http: "httpx.Client | httpx.AsyncClient", ask: Ask, timeout: float) -> "httpx.Request":
    """Return the request of httpx.

    Raises:
        BridgeError: `invalid_request` when the client was closed.
    """
    if http.is_closed:
        raise BridgeError("invalid_request", "the client was closed; make another one")
    wanted = waits(timeout if ask.timeout is None else ask.timeout)
    return http.build_request(ask.method, ask.path, content=ask.body, headers=ask.headers, timeout=wanted)


def told(error: "httpx.HTTPError | httpx.StreamError") -> tuple[BridgeError, bool]:
    """Return an error of the connection as one of the closed set, and whether the request may have been sent."""
    httpx = library()
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return BridgeError("unavailable", f"the server cannot be reached: {why}"), False
    if isinstance(error, httpx.TimeoutException):
        text = "the server did not answer in time; the work may go on there. Ask for it later, or raise the timeout"
        return BridgeError("timeout", text), True
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return BridgeError("invalid_request", f"the request cannot be sent: {why}"), False
    return BridgeError("unavailable", f"the connection broke: {why}"), True


__all__ = ["library", "options", "request_of", "told", "waits"]
