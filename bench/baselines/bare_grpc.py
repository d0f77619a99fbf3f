"""A grpc.aio server that gives the parameters of `Call` back, and nothing else. Prints where it listens."""

import asyncio
from typing import Any

import grpc

from python_bridge._proto import bridge_pb2 as pb
from python_bridge._proto.bridge_pb2_grpc import BridgeServicer, add_BridgeServicer_to_server


class Echo(BridgeServicer):
    """Answers at once."""

    async def Call(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's names
        return pb.CallResponse(result=request.params)

    async def Stream(self, request: Any, context: Any) -> None:  # noqa: N802
        for seq in range(int(request.method)):
            await context.write(pb.StreamResponse(event=pb.Event(seq=seq, event=request.params)))


async def main() -> None:
    server = grpc.aio.server()
    add_BridgeServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on grpc:127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    run(main())
