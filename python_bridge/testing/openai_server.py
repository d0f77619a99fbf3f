"""A local HTTP server with OpenAI's chat completions API, for tests over a real socket.

In a test, as a context manager, synchronous (it then runs in a thread of its own) or asynchronous:

    with OpenAIServer() as server:
        lm = dspy.LM("openai/any", api_base=server.base_url, api_key="any")
        server.push(Behaviour(status=429, retry_after=0.1))

Beside other programs, as a process: `python -m python_bridge.testing.openai_server --port-file F`, scripted over HTTP:

- `POST /control` `{"push": [behaviour, …], "default": behaviour, "release": true, "reset": true}`, all optional;
- `GET /control?requests=2&disconnects=1&timeout=10`: waits until so many were seen (408 after `timeout` seconds), then
  answers `{"requests": […], "disconnects": n, "left": n}`.
"""

import asyncio
import contextlib
import hmac
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

from python_bridge.testing import http
from python_bridge.testing.openai_behaviour import Behaviour
from python_bridge.testing.openai_exchange import Cut, Exchange, WatchedReader, parsed, redacted, respond

_MAX_RECORDED = 10_000
_READ_LIMIT = 64 * 1024


class OpenAIServer:
    """The server. Its methods may be called from any thread.

    Args:
        token: the key that requests must bring; ``None`` takes any.
        host, port: where to listen; port 0 takes a free one.
        default: how requests are answered when nothing was pushed.

    Attributes:
        exchanges: the last 10,000 requests to the API, with what became of them.
    """

    def __init__(
        self, *, token: str | None = None, host: str = "127.0.0.1", port: int = 0, default: Behaviour | None = None
    ) -> None:
        self.host, self.port = host, port
        self.default = default or Behaviour()
        self.exchanges: deque[Exchange] = deque(maxlen=_MAX_RECORDED)
        self._token = token
        self._script: deque[Behaviour] = deque()
        self._changed = threading.Condition()
        self._count = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def base_url(self) -> str:
        """What `dspy.LM(api_base=…)` takes."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def left(self) -> int:
        """Number of pushed answers that no request took yet."""
        return sum(behaviour.times for behaviour in self._script)

    def push(self, *behaviours: Behaviour) -> None:
        """Script the next requests, in their order."""
        self._script.extend(behaviours)

    def release(self) -> None:
        """Let everything go on that stalls now."""
        for exchange in list(self.exchanges):
            exchange.released.open()

    def reset(self) -> None:
        """Forget the script and the record, and release what stalls."""
        self.release()
        self._script.clear()
        self.exchanges.clear()

    def wait_for(self, requests: int = 0, disconnects: int = 0, timeout: float = 30.0) -> list[Exchange]:
        """Block this thread until so many requests and disconnects were seen since the last reset.

        Raises:
            TimeoutError: after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._seen(requests, disconnects), timeout):
                raise TimeoutError(f"saw {len(self.exchanges)} requests and {self.disconnects} disconnects")
        return list(self.exchanges)

    async def until(self, requests: int = 0, disconnects: int = 0, within: float = 30.0) -> list[Exchange]:
        """Do as `wait_for` does, in a task."""
        return await asyncio.to_thread(self.wait_for, requests, disconnects, within)

    @property
    def disconnects(self) -> int:
        """How many clients went away before their answer was complete."""
        return sum(exchange.disconnected.is_open for exchange in list(self.exchanges))

    def _seen(self, requests: int, disconnects: int) -> bool:
        return len(self.exchanges) >= requests and self.disconnects >= disconnects

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # Serving

    async def start(self) -> None:
        """Listen in the running loop.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.StreamReaderProtocol:
            reader = WatchedReader(limit=_READ_LIMIT, loop=loop)
            return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._connected(reader, writer), loop=loop)

        self._server = await loop.create_server(protocol, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and cut all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def _connected(self, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until either side ends it."""
        try:
            while request := await http.read_request(reader):
                await self._answer(request, reader, writer)
                if request.headers.get("connection", "").lower() == "close":
                    break
        except Cut:
            writer.transport.abort()
        except http.BadRequest as error:
            # What follows on a connection with an unreadable request has no known beginning.
            writer.write(b"".join(http.json_response(400, _error(str(error)), {"connection": "close"})))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, request: http.HttpRequest, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        if request.path == "/control":
            status, value = await self._control(request)
        elif refused := self._refusal(request):
            status, value = refused
        elif request.method == "GET":
            status, value = 200, {"object": "list", "data": [{"id": "extractive", "object": "model"}]}
        else:
            await self._exchange(request, reader, writer)
            return
        writer.write(b"".join(http.json_response(status, value)))
        await writer.drain()

    def _refusal(self, request: http.HttpRequest) -> tuple[int, dict[str, Any]] | None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        known = {("POST", "/chat/completions"), ("POST", "/embeddings"), ("GET", "/models")}
        if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
            return 401, Behaviour(status=401).error_body()
        if (request.method, request.path.removeprefix("/v1")) not in known:
            return 404, _error(f"{request.method} {request.path} is not served here")
        return None

    async def _exchange(self, request: http.HttpRequest, reader: WatchedReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        exchange = Exchange(
            self._count,
            request.method,
            request.path,
            redacted(request.headers),
            parsed(request.body),
            self._next(),
        )
        self.exchanges.append(exchange)
        self._notify()
        try:
            if not isinstance(exchange.body, dict):
                raise http.BadRequest("the body is not a JSON object")
            await respond(exchange, reader, writer)
        finally:
            self._notify()

    def _next(self) -> Behaviour:
        if not self._script:
            return self.default
        behaviour = self._script.popleft()
        if behaviour.times > 1:
            self._script.appendleft(behaviour.repeated())
        return behaviour

    # The control endpoint

    async def _control(self, request: http.HttpRequest) -> tuple[int, dict[str, Any]]:
        try:
            if request.method == "POST":
                return 200, self._command(request.json())
            query = request.query
            wanted = int(query.get("requests", 0)), int(query.get("disconnects", 0)), float(query.get("timeout", 10))
            await self.until(*wanted)
        except (ValueError, TypeError, AttributeError) as error:
            return 400, _error(str(error))
        except TimeoutError as error:
            return 408, _error(str(error))
        return 200, self._state()

    def _command(self, command: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := sorted(command.keys() - {"push", "default", "release", "reset"}):
            raise ValueError(f"unknown commands: {', '.join(unknown)}")
        pushed = [Behaviour.from_json(entry) for entry in command.get("push", [])]
        if command.get("reset"):
            self.reset()
            self.default = Behaviour()
        if "default" in command:
            self.default = Behaviour.from_json(command["default"])
        if command.get("release"):
            self.release()
        self.push(*pushed)
        return self._state()

    def _state(self) -> dict[str, Any]:
        requests = [exchange.to_json() for exchange in list(self.exchanges)]
        return {"requests": requests, "disconnects": self.disconnects, "left": self.left}

    # As a context manager

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        started: deque[BaseException] = deque()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready, started), name="openai-server", daemon=True)
        self._thread.start()
        ready.wait()
        if started:
            self._thread.join()
            raise started[0]
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop is not None and self._thread is not None:
            loop, stop = self._stop
            loop.call_soon_threadsafe(stop.set)
            self._thread.join()

    def _run(self, ready: threading.Event, failures: deque[BaseException]) -> None:
        async def serve() -> None:
            stop = asyncio.Event()
            self._stop = (asyncio.get_running_loop(), stop)
            try:
                await self.start()
            except OSError as error:
                failures.append(error)
                return
            finally:
                ready.set()
            await stop.wait()
            await self.stop()

        asyncio.run(serve())


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


def main() -> None:
    """Run the server as a process."""
    from python_bridge.testing.openai_process import run

    run()


if __name__ == "__main__":
    main()

__all__ = ["OpenAIServer", "main"]
