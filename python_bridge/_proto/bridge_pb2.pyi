from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_JSON: _ClassVar[Encoding]
    ENCODING_MSGPACK: _ClassVar[Encoding]
    ENCODING_ARROW: _ClassVar[Encoding]
ENCODING_UNSPECIFIED: Encoding
ENCODING_JSON: Encoding
ENCODING_MSGPACK: Encoding
ENCODING_ARROW: Encoding

class Payload(_message.Message):
    __slots__ = ("data", "encoding", "attachments")
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    encoding: Encoding
    attachments: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, data: _Optional[bytes] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., attachments: _Optional[_Iterable[bytes]] = ...) -> None: ...

class CallRequest(_message.Message):
    __slots__ = ("method", "params", "meta")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    method: str
    params: Payload
    meta: Meta
    def __init__(self, method: _Optional[str] = ..., params: _Optional[_Union[Payload, _Mapping]] = ..., meta: _Optional[_Union[Meta, _Mapping]] = ...) -> None: ...

class Meta(_message.Message):
    __slots__ = ("session", "tenant", "idempotency_key", "traceparent")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    session: str
    tenant: str
    idempotency_key: str
    traceparent: str
    def __init__(self, session: _Optional[str] = ..., tenant: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., traceparent: _Optional[str] = ...) -> None: ...

class CallResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: Payload
    def __init__(self, result: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class StreamResponse(_message.Message):
    __slots__ = ("event", "response")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    event: Event
    response: CallResponse
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., response: _Optional[_Union[CallResponse, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "event")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    event: Payload
    def __init__(self, seq: _Optional[int] = ..., event: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    def __init__(self, body: _Optional[bytes] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("kind", "code", "message", "retryable", "hint", "need", "retry_after", "details")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    NEED_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    code: int
    message: str
    retryable: bool
    hint: str
    need: str
    retry_after: float
    details: Payload
    def __init__(self, kind: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., retryable: _Optional[bool] = ..., hint: _Optional[str] = ..., need: _Optional[str] = ..., retry_after: _Optional[float] = ..., details: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...
