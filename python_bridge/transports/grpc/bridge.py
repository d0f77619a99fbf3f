"""`dspex.bridge.v1.Bridge`: single requests, streams, and protocol 1 over one stream."""

import asyncio
from typing import Any

import grpc

from python_bridge._proto import bridge_pb2 as pb
from python_bridge._proto.bridge_pb2_grpc import BridgeServicer
from python_bridge.errors import BridgeError
from python_bridge.protocol.messages import Meta
from python_bridge.services.dispatch import Dispatcher
from python_bridge.transports.direct import Direct
from python_bridge.transports.exchange import Exchange
from python_bridge.transports.grpc.frames import FrameTransport
from python_bridge.transports.grpc.payloads import read_params, write_payload
from python_bridge.transports.grpc.statuses import abort
from python_bridge.transports.sockets import SocketPeer, reception_of


class Bridge(BridgeServicer):
    """Serves gRPC clients with the operations of a dispatcher."""

    def __init__(self, dispatcher: Dispatcher, direct: Direct) -> None:
        self._dispatcher = dispatcher
        self._direct = direct
        self._limits = dispatcher.limits
        self._max_bytes = dispatcher.settings.max_frame_bytes
        self._reception = reception_of(dispatcher)

    async def Call(self, request: pb.CallRequest, context: Any) -> pb.CallResponse:  # noqa: N802 - gRPC's name
        exchange: Exchange | None = None
        try:
            exchange = self._ask(request, context, stream=False)
            return self._response(request, await exchange.answer)
        except BridgeError as error:
            await abort(context, error)
        finally:
            if exchange is not None:
                self._direct.cancel(exchange)

    async def Stream(self, request: pb.CallRequest, context: Any) -> None:  # noqa: N802
        exchange: Exchange | None = None
        try:
            exchange = self._ask(request, context, stream=True)
            while (item := await exchange.events.get()) is not None:
                await context.write(self._event(request, *item))
                self._direct.grant(exchange)
            response = self._response(request, await exchange.answer)
            await context.write(pb.StreamResponse(response=response))
        except grpc.aio.InternalError:
            return  # the client is gone
        except BridgeError as error:
            await abort(context, error)
        finally:
            if exchange is not None:
                self._direct.cancel(exchange)

    async def Connect(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        peer = SocketPeer(self._dispatcher, self._reception)
        transport = FrameTransport(peer)
        peer.connection_made(transport)
        # The stream begins for the client now, not with the first answer.
        await context.send_initial_metadata(())
        reading = asyncio.ensure_future(transport.pump_in(request_iterator))
        reading.add_done_callback(lambda done: transport.close())
        try:
            await transport.pump_out(context.write)
        except grpc.aio.InternalError:
            return  # the client is gone
        finally:
            reading.cancel()
            transport.abort()
            peer.connection_lost(None)

    def _ask(self, request: pb.CallRequest, context: Any, *, stream: bool) -> Exchange:
        params = read_params(request.params, self._limits, self._max_bytes)
        if "_meta" in params:
            raise BridgeError("invalid_request", "params may not have _meta; the meta of a call is a field of its own")
        return self._direct.ask(request.method, params, _meta(request.meta, context.time_remaining(), stream))

    def _response(self, request: pb.CallRequest, result: Any) -> pb.CallResponse:
        try:
            return pb.CallResponse(result=self._payload(request, result))
        except BridgeError as error:
            kind = "program_error" if error.kind == "invalid_input" else error.kind
            text = f"the result of {request.method} cannot be sent: {error.message}"
            raise BridgeError(kind, text, details=error.details) from None

    def _event(self, request: pb.CallRequest, seq: int, event: dict[str, Any]) -> pb.StreamResponse:
        return pb.StreamResponse(event=pb.Event(seq=seq, event=self._payload(request, event)))

    def _payload(self, request: pb.CallRequest, value: Any) -> pb.Payload:
        return write_payload(value, request.params.encoding, self._limits, self._max_bytes)


def _meta(meta: pb.Meta, remaining_s: float | None, stream: bool) -> Meta:
    return Meta(
        deadline_ms=None if remaining_s is None else max(0, int(remaining_s * 1000)),
        stream=stream,
        session=meta.session or None,
        tenant=meta.tenant or None,
        idempotency_key=meta.idempotency_key or None,
        traceparent=meta.traceparent or None,
    )


__all__ = ["Bridge"]
