"""The gRPC server of a Snakepit worker: plain text on localhost, as Snakepit wants it."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from python_bridge._proto.snakepit_bridge_pb2_grpc import add_BridgeServiceServicer_to_server
from python_bridge.settings import SettingsError
from python_bridge.transports.grpc.snakepit.elixir import Elixir
from python_bridge.transports.grpc.snakepit.service import LocalTool, Snakepit

if TYPE_CHECKING:
    from python_bridge.transports.link import WorkerLink

_MAX_MESSAGE_BYTES = 100 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
)


class Worker(Protocol):
    """The worker process."""

    def wait_link(self) -> Awaitable["WorkerLink"]:
        """Return the link to it, waiting for it."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    port: int
    service: Snakepit
    server: grpc.aio.Server
    elixir: Elixir

    async def stop(self, grace_s: float) -> None:
        """End; what is answered already may still go out."""
        await self.server.stop(grace_s)
        await self.elixir.close()


async def serve_snakepit(
    port: int,
    elixir_address: str | None,
    worker: Worker,
    programs: dict[str, dict[str, Any]],
    local: Mapping[str, tuple[str, LocalTool]],
    name: str,
) -> Served:
    """Begin to serve.

    Args:
        port: 0 for any.
        name: what the worker is called in events and answers.

    Raises:
        SettingsError: the port cannot be listened on.
    """
    elixir = Elixir(elixir_address)
    service = Snakepit(worker.wait_link, elixir, programs, local, name)
    server = grpc.aio.server(options=_OPTIONS)
    add_BridgeServiceServicer_to_server(service, server)
    try:
        bound = server.add_insecure_port(f"localhost:{port}")
    except RuntimeError as error:
        raise SettingsError(f"--port {port} cannot be listened on: {error}") from None
    await server.start()
    return Served(bound, service, server, elixir)


__all__ = ["Served", "Worker", "serve_snakepit"]
