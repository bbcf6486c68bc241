import datetime

from alignfed.v1 import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterAgentRequest(_message.Message):
    __slots__ = ("federation", "agent_id", "capabilities")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    capabilities: _types_pb2.AgentCapabilities
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ..., capabilities: _Optional[_Union[_types_pb2.AgentCapabilities, _Mapping]] = ...) -> None: ...

class RegisterAgentResponse(_message.Message):
    __slots__ = ("plan", "status")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    plan: _types_pb2.FederationPlan
    status: _types_pb2.HeadStatus
    def __init__(self, plan: _Optional[_Union[_types_pb2.FederationPlan, _Mapping]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class GetGlobalVersionRequest(_message.Message):
    __slots__ = ("federation", "agent_id", "after_number", "max_wait")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_NUMBER_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    after_number: int
    max_wait: _duration_pb2.Duration
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ..., after_number: _Optional[int] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetGlobalVersionResponse(_message.Message):
    __slots__ = ("status", "pace")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    pace: Pace
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ..., pace: _Optional[_Union[Pace, _Mapping]] = ...) -> None: ...

class Pace(_message.Message):
    __slots__ = ("come_back_after", "oldest_wanted_number")
    COME_BACK_AFTER_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WANTED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    come_back_after: _duration_pb2.Duration
    oldest_wanted_number: int
    def __init__(self, come_back_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., oldest_wanted_number: _Optional[int] = ...) -> None: ...

class WatchGlobalVersionsRequest(_message.Message):
    __slots__ = ("federation", "agent_id")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class WatchGlobalVersionsResponse(_message.Message):
    __slots__ = ("status", "pace")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    pace: Pace
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ..., pace: _Optional[_Union[Pace, _Mapping]] = ...) -> None: ...

class DownloadAdapterRequest(_message.Message):
    __slots__ = ("federation", "number", "offset", "kind")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    offset: int
    kind: _types_pb2.AdapterKind
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ..., offset: _Optional[int] = ..., kind: _Optional[_Union[_types_pb2.AdapterKind, str]] = ...) -> None: ...

class DownloadAdapterResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: _types_pb2.AdapterHeader
    chunk: _types_pb2.Chunk
    def __init__(self, header: _Optional[_Union[_types_pb2.AdapterHeader, _Mapping]] = ..., chunk: _Optional[_Union[_types_pb2.Chunk, _Mapping]] = ...) -> None: ...

class QueryUploadRequest(_message.Message):
    __slots__ = ("federation", "agent_id", "delta_id", "sha256", "rank", "base_version")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    delta_id: str
    sha256: str
    rank: int
    base_version: _types_pb2.VersionId
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ..., delta_id: _Optional[str] = ..., sha256: _Optional[str] = ..., rank: _Optional[int] = ..., base_version: _Optional[_Union[_types_pb2.VersionId, _Mapping]] = ...) -> None: ...

class QueryUploadResponse(_message.Message):
    __slots__ = ("receipt", "resume_offset", "status")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    RESUME_OFFSET_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    receipt: _types_pb2.Receipt
    resume_offset: int
    status: _types_pb2.HeadStatus
    def __init__(self, receipt: _Optional[_Union[_types_pb2.Receipt, _Mapping]] = ..., resume_offset: _Optional[int] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class SubmitDeltaRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: _types_pb2.DeltaHeader
    chunk: _types_pb2.Chunk
    def __init__(self, header: _Optional[_Union[_types_pb2.DeltaHeader, _Mapping]] = ..., chunk: _Optional[_Union[_types_pb2.Chunk, _Mapping]] = ...) -> None: ...

class SubmitDeltaResponse(_message.Message):
    __slots__ = ("receipt", "status", "pace")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    receipt: _types_pb2.Receipt
    status: _types_pb2.HeadStatus
    pace: Pace
    def __init__(self, receipt: _Optional[_Union[_types_pb2.Receipt, _Mapping]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ..., pace: _Optional[_Union[Pace, _Mapping]] = ...) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("signing_request",)
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    signing_request: bytes
    def __init__(self, signing_request: _Optional[bytes] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...
