import datetime

from alignfed.v1 import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_KIND_UNSPECIFIED: _ClassVar[VersionKind]
    VERSION_KIND_INITIAL: _ClassVar[VersionKind]
    VERSION_KIND_MERGE: _ClassVar[VersionKind]
    VERSION_KIND_ROLLBACK: _ClassVar[VersionKind]

class DeltaFate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELTA_FATE_UNSPECIFIED: _ClassVar[DeltaFate]
    DELTA_FATE_UPLOADING: _ClassVar[DeltaFate]
    DELTA_FATE_QUEUED: _ClassVar[DeltaFate]
    DELTA_FATE_CLAIMED: _ClassVar[DeltaFate]
    DELTA_FATE_DEAD_LETTER: _ClassVar[DeltaFate]
    DELTA_FATE_MERGED: _ClassVar[DeltaFate]
    DELTA_FATE_REJECTED: _ClassVar[DeltaFate]
VERSION_KIND_UNSPECIFIED: VersionKind
VERSION_KIND_INITIAL: VersionKind
VERSION_KIND_MERGE: VersionKind
VERSION_KIND_ROLLBACK: VersionKind
DELTA_FATE_UNSPECIFIED: DeltaFate
DELTA_FATE_UPLOADING: DeltaFate
DELTA_FATE_QUEUED: DeltaFate
DELTA_FATE_CLAIMED: DeltaFate
DELTA_FATE_DEAD_LETTER: DeltaFate
DELTA_FATE_MERGED: DeltaFate
DELTA_FATE_REJECTED: DeltaFate

class CreateFederationHeader(_message.Message):
    __slots__ = ("plan", "adapter_bytes", "adapter_sha256", "calibration_bytes", "calibration_sha256")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_SHA256_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_SHA256_FIELD_NUMBER: _ClassVar[int]
    plan: _types_pb2.FederationPlan
    adapter_bytes: int
    adapter_sha256: str
    calibration_bytes: int
    calibration_sha256: str
    def __init__(self, plan: _Optional[_Union[_types_pb2.FederationPlan, _Mapping]] = ..., adapter_bytes: _Optional[int] = ..., adapter_sha256: _Optional[str] = ..., calibration_bytes: _Optional[int] = ..., calibration_sha256: _Optional[str] = ...) -> None: ...

class CreateFederationRequest(_message.Message):
    __slots__ = ("header", "adapter_chunk", "calibration_chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_CHUNK_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: CreateFederationHeader
    adapter_chunk: _types_pb2.Chunk
    calibration_chunk: _types_pb2.Chunk
    def __init__(self, header: _Optional[_Union[CreateFederationHeader, _Mapping]] = ..., adapter_chunk: _Optional[_Union[_types_pb2.Chunk, _Mapping]] = ..., calibration_chunk: _Optional[_Union[_types_pb2.Chunk, _Mapping]] = ...) -> None: ...

class CreateFederationResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class ListFederationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFederationsResponse(_message.Message):
    __slots__ = ("federations",)
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    federations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, federations: _Optional[_Iterable[str]] = ...) -> None: ...

class GetFederationRequest(_message.Message):
    __slots__ = ("federation",)
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    def __init__(self, federation: _Optional[str] = ...) -> None: ...

class GetFederationResponse(_message.Message):
    __slots__ = ("plan", "status", "queue_deltas", "pending_deltas", "dead_letters", "agents", "created_at", "oldest_queued_at")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELTAS_FIELD_NUMBER: _ClassVar[int]
    PENDING_DELTAS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    OLDEST_QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    plan: _types_pb2.FederationPlan
    status: _types_pb2.HeadStatus
    queue_deltas: int
    pending_deltas: int
    dead_letters: int
    agents: int
    created_at: _timestamp_pb2.Timestamp
    oldest_queued_at: _timestamp_pb2.Timestamp
    def __init__(self, plan: _Optional[_Union[_types_pb2.FederationPlan, _Mapping]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ..., queue_deltas: _Optional[int] = ..., pending_deltas: _Optional[int] = ..., dead_letters: _Optional[int] = ..., agents: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., oldest_queued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MergedDelta(_message.Message):
    __slots__ = ("delta_id", "agent_id", "base_version", "staleness_versions", "examples", "freshness", "fairness", "weight", "coefficient", "cosine", "norm", "clip")
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STALENESS_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    COEFFICIENT_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    NORM_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    delta_id: str
    agent_id: str
    base_version: _types_pb2.VersionId
    staleness_versions: int
    examples: int
    freshness: float
    fairness: float
    weight: float
    coefficient: float
    cosine: float
    norm: float
    clip: float
    def __init__(self, delta_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., base_version: _Optional[_Union[_types_pb2.VersionId, _Mapping]] = ..., staleness_versions: _Optional[int] = ..., examples: _Optional[int] = ..., freshness: _Optional[float] = ..., fairness: _Optional[float] = ..., weight: _Optional[float] = ..., coefficient: _Optional[float] = ..., cosine: _Optional[float] = ..., norm: _Optional[float] = ..., clip: _Optional[float] = ...) -> None: ...

class VersionGroup(_message.Message):
    __slots__ = ("base_version", "deltas", "method", "cosine", "objective_before", "objective_after")
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_BEFORE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_AFTER_FIELD_NUMBER: _ClassVar[int]
    base_version: _types_pb2.VersionId
    deltas: int
    method: str
    cosine: float
    objective_before: float
    objective_after: float
    def __init__(self, base_version: _Optional[_Union[_types_pb2.VersionId, _Mapping]] = ..., deltas: _Optional[int] = ..., method: _Optional[str] = ..., cosine: _Optional[float] = ..., objective_before: _Optional[float] = ..., objective_after: _Optional[float] = ...) -> None: ...

class MergeRecord(_message.Message):
    __slots__ = ("recipe", "server_learning_rate", "deltas", "groups", "calibration_loss_before", "calibration_loss_after", "calibration_loss_served", "unrecorded", "privacy", "robust")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SERVER_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_LOSS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_LOSS_AFTER_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_LOSS_SERVED_FIELD_NUMBER: _ClassVar[int]
    UNRECORDED_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    ROBUST_FIELD_NUMBER: _ClassVar[int]
    recipe: str
    server_learning_rate: float
    deltas: _containers.RepeatedCompositeFieldContainer[MergedDelta]
    groups: _containers.RepeatedCompositeFieldContainer[VersionGroup]
    calibration_loss_before: float
    calibration_loss_after: float
    calibration_loss_served: float
    unrecorded: _containers.RepeatedScalarFieldContainer[str]
    privacy: PrivacySpent
    robust: str
    def __init__(self, recipe: _Optional[str] = ..., server_learning_rate: _Optional[float] = ..., deltas: _Optional[_Iterable[_Union[MergedDelta, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[VersionGroup, _Mapping]]] = ..., calibration_loss_before: _Optional[float] = ..., calibration_loss_after: _Optional[float] = ..., calibration_loss_served: _Optional[float] = ..., unrecorded: _Optional[_Iterable[str]] = ..., privacy: _Optional[_Union[PrivacySpent, _Mapping]] = ..., robust: _Optional[str] = ...) -> None: ...

class PrivacySpent(_message.Message):
    __slots__ = ("epsilon", "delta", "participations", "noise_multiplier", "clip_norm")
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    PARTICIPATIONS_FIELD_NUMBER: _ClassVar[int]
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    delta: float
    participations: int
    noise_multiplier: float
    clip_norm: float
    def __init__(self, epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., participations: _Optional[int] = ..., noise_multiplier: _Optional[float] = ..., clip_norm: _Optional[float] = ...) -> None: ...

class GlobalVersion(_message.Message):
    __slots__ = ("id", "kind", "parent_number", "created_at", "abandoned", "serves_average", "merge", "deltas", "calibration_loss", "manifest")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    SERVES_AVERAGE_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    DELTAS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    id: _types_pb2.VersionId
    kind: VersionKind
    parent_number: int
    created_at: _timestamp_pb2.Timestamp
    abandoned: bool
    serves_average: bool
    merge: MergeRecord
    deltas: int
    calibration_loss: float
    manifest: _types_pb2.SignedManifest
    def __init__(self, id: _Optional[_Union[_types_pb2.VersionId, _Mapping]] = ..., kind: _Optional[_Union[VersionKind, str]] = ..., parent_number: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., abandoned: _Optional[bool] = ..., serves_average: _Optional[bool] = ..., merge: _Optional[_Union[MergeRecord, _Mapping]] = ..., deltas: _Optional[int] = ..., calibration_loss: _Optional[float] = ..., manifest: _Optional[_Union[_types_pb2.SignedManifest, _Mapping]] = ...) -> None: ...

class ListVersionsRequest(_message.Message):
    __slots__ = ("federation", "before_number", "limit")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    federation: str
    before_number: int
    limit: int
    def __init__(self, federation: _Optional[str] = ..., before_number: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListVersionsResponse(_message.Message):
    __slots__ = ("versions", "status")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[GlobalVersion]
    status: _types_pb2.HeadStatus
    def __init__(self, versions: _Optional[_Iterable[_Union[GlobalVersion, _Mapping]]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class GetVersionRequest(_message.Message):
    __slots__ = ("federation", "number")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class GetVersionResponse(_message.Message):
    __slots__ = ("version", "status")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    version: GlobalVersion
    status: _types_pb2.HeadStatus
    def __init__(self, version: _Optional[_Union[GlobalVersion, _Mapping]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class ExportAdapterRequest(_message.Message):
    __slots__ = ("federation", "number", "kind", "offset")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    kind: _types_pb2.AdapterKind
    offset: int
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ..., kind: _Optional[_Union[_types_pb2.AdapterKind, str]] = ..., offset: _Optional[int] = ...) -> None: ...

class ExportAdapterResponse(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: _types_pb2.AdapterHeader
    chunk: _types_pb2.Chunk
    def __init__(self, header: _Optional[_Union[_types_pb2.AdapterHeader, _Mapping]] = ..., chunk: _Optional[_Union[_types_pb2.Chunk, _Mapping]] = ...) -> None: ...

class PauseFederationRequest(_message.Message):
    __slots__ = ("federation",)
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    def __init__(self, federation: _Optional[str] = ...) -> None: ...

class PauseFederationResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class ResumeFederationRequest(_message.Message):
    __slots__ = ("federation",)
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    def __init__(self, federation: _Optional[str] = ...) -> None: ...

class ResumeFederationResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class RollBackFederationRequest(_message.Message):
    __slots__ = ("federation", "number")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    federation: str
    number: int
    def __init__(self, federation: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class RollBackFederationResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _types_pb2.HeadStatus
    def __init__(self, status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class Agent(_message.Message):
    __slots__ = ("agent_id", "capabilities", "registered_at", "last_seen_at", "merged_deltas", "merged_weight", "rejected_deltas", "revoked")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    MERGED_DELTAS_FIELD_NUMBER: _ClassVar[int]
    MERGED_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_DELTAS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    capabilities: _types_pb2.AgentCapabilities
    registered_at: _timestamp_pb2.Timestamp
    last_seen_at: _timestamp_pb2.Timestamp
    merged_deltas: int
    merged_weight: float
    rejected_deltas: int
    revoked: bool
    def __init__(self, agent_id: _Optional[str] = ..., capabilities: _Optional[_Union[_types_pb2.AgentCapabilities, _Mapping]] = ..., registered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., merged_deltas: _Optional[int] = ..., merged_weight: _Optional[float] = ..., rejected_deltas: _Optional[int] = ..., revoked: _Optional[bool] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("federation",)
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    def __init__(self, federation: _Optional[str] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents", "status")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[Agent]
    status: _types_pb2.HeadStatus
    def __init__(self, agents: _Optional[_Iterable[_Union[Agent, _Mapping]]] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class RevokeAgentRequest(_message.Message):
    __slots__ = ("federation", "agent_id")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ...) -> None: ...

class RevokeAgentResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("delta_id", "agent_id", "detail", "buried_at")
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    BURIED_AT_FIELD_NUMBER: _ClassVar[int]
    delta_id: str
    agent_id: str
    detail: str
    buried_at: _timestamp_pb2.Timestamp
    def __init__(self, delta_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., detail: _Optional[str] = ..., buried_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListDeadLettersRequest(_message.Message):
    __slots__ = ("federation",)
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    federation: str
    def __init__(self, federation: _Optional[str] = ...) -> None: ...

class ListDeadLettersResponse(_message.Message):
    __slots__ = ("dead_letters",)
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    dead_letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    def __init__(self, dead_letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ...) -> None: ...

class RequeueDeadLetterRequest(_message.Message):
    __slots__ = ("federation", "delta_id")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    federation: str
    delta_id: str
    def __init__(self, federation: _Optional[str] = ..., delta_id: _Optional[str] = ...) -> None: ...

class RequeueDeadLetterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DropDeadLetterRequest(_message.Message):
    __slots__ = ("federation", "delta_id")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    federation: str
    delta_id: str
    def __init__(self, federation: _Optional[str] = ..., delta_id: _Optional[str] = ...) -> None: ...

class DropDeadLetterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class QueuePlace(_message.Message):
    __slots__ = ("place", "queue_deltas", "base_version", "staleness_versions", "examples", "claimed_by", "attempts")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DELTAS_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    STALENESS_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_BY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    place: int
    queue_deltas: int
    base_version: _types_pb2.VersionId
    staleness_versions: int
    examples: int
    claimed_by: str
    attempts: int
    def __init__(self, place: _Optional[int] = ..., queue_deltas: _Optional[int] = ..., base_version: _Optional[_Union[_types_pb2.VersionId, _Mapping]] = ..., staleness_versions: _Optional[int] = ..., examples: _Optional[int] = ..., claimed_by: _Optional[str] = ..., attempts: _Optional[int] = ...) -> None: ...

class ExplainDeltaRequest(_message.Message):
    __slots__ = ("federation", "delta_id")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    federation: str
    delta_id: str
    def __init__(self, federation: _Optional[str] = ..., delta_id: _Optional[str] = ...) -> None: ...

class ExplainDeltaResponse(_message.Message):
    __slots__ = ("delta_id", "agent_id", "fate", "upload_begun_at", "accepted_at", "queue", "dead_letter", "reason", "detail", "version", "abandoned_by", "status")
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FATE_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BEGUN_AT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_BY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    delta_id: str
    agent_id: str
    fate: DeltaFate
    upload_begun_at: _timestamp_pb2.Timestamp
    accepted_at: _timestamp_pb2.Timestamp
    queue: QueuePlace
    dead_letter: DeadLetter
    reason: str
    detail: str
    version: GlobalVersion
    abandoned_by: int
    status: _types_pb2.HeadStatus
    def __init__(self, delta_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., fate: _Optional[_Union[DeltaFate, str]] = ..., upload_begun_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., accepted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queue: _Optional[_Union[QueuePlace, _Mapping]] = ..., dead_letter: _Optional[_Union[DeadLetter, _Mapping]] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., version: _Optional[_Union[GlobalVersion, _Mapping]] = ..., abandoned_by: _Optional[int] = ..., status: _Optional[_Union[_types_pb2.HeadStatus, _Mapping]] = ...) -> None: ...

class StoreServer(_message.Message):
    __slots__ = ("software", "time", "eviction_policy", "append_only", "append_fsync", "append_failing", "memory_used_bytes", "memory_limit_bytes")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    EVICTION_POLICY_FIELD_NUMBER: _ClassVar[int]
    APPEND_ONLY_FIELD_NUMBER: _ClassVar[int]
    APPEND_FSYNC_FIELD_NUMBER: _ClassVar[int]
    APPEND_FAILING_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    software: str
    time: _timestamp_pb2.Timestamp
    eviction_policy: str
    append_only: bool
    append_fsync: str
    append_failing: bool
    memory_used_bytes: int
    memory_limit_bytes: int
    def __init__(self, software: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., eviction_policy: _Optional[str] = ..., append_only: _Optional[bool] = ..., append_fsync: _Optional[str] = ..., append_failing: _Optional[bool] = ..., memory_used_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ...) -> None: ...

class FederationHealth(_message.Message):
    __slots__ = ("federation", "worker_id", "lease_left", "paused", "head_stored", "calibration_wanted", "calibration_stored")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_LEFT_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    HEAD_STORED_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_WANTED_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_STORED_FIELD_NUMBER: _ClassVar[int]
    federation: str
    worker_id: str
    lease_left: _duration_pb2.Duration
    paused: bool
    head_stored: bool
    calibration_wanted: bool
    calibration_stored: bool
    def __init__(self, federation: _Optional[str] = ..., worker_id: _Optional[str] = ..., lease_left: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., paused: _Optional[bool] = ..., head_stored: _Optional[bool] = ..., calibration_wanted: _Optional[bool] = ..., calibration_stored: _Optional[bool] = ...) -> None: ...

class InspectCoordinatorRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InspectCoordinatorResponse(_message.Message):
    __slots__ = ("software_version", "time", "store", "store_problem", "federations")
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    STORE_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    software_version: str
    time: _timestamp_pb2.Timestamp
    store: _containers.RepeatedCompositeFieldContainer[StoreServer]
    store_problem: str
    federations: _containers.RepeatedCompositeFieldContainer[FederationHealth]
    def __init__(self, software_version: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., store: _Optional[_Iterable[_Union[StoreServer, _Mapping]]] = ..., store_problem: _Optional[str] = ..., federations: _Optional[_Iterable[_Union[FederationHealth, _Mapping]]] = ...) -> None: ...

class JoinGrant(_message.Message):
    __slots__ = ("token_id", "secret_sha256", "agent", "federations", "uses", "uses_left", "created_at", "expires_at", "created_by")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_SHA256_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    USES_LEFT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    secret_sha256: str
    agent: str
    federations: _containers.RepeatedScalarFieldContainer[str]
    uses: int
    uses_left: int
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    created_by: str
    def __init__(self, token_id: _Optional[str] = ..., secret_sha256: _Optional[str] = ..., agent: _Optional[str] = ..., federations: _Optional[_Iterable[str]] = ..., uses: _Optional[int] = ..., uses_left: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ...) -> None: ...

class CreateJoinGrantRequest(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: JoinGrant
    def __init__(self, grant: _Optional[_Union[JoinGrant, _Mapping]] = ...) -> None: ...

class CreateJoinGrantResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListJoinGrantsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListJoinGrantsResponse(_message.Message):
    __slots__ = ("grants",)
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[JoinGrant]
    def __init__(self, grants: _Optional[_Iterable[_Union[JoinGrant, _Mapping]]] = ...) -> None: ...

class WithdrawJoinGrantRequest(_message.Message):
    __slots__ = ("token_id",)
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    def __init__(self, token_id: _Optional[str] = ...) -> None: ...

class WithdrawJoinGrantResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevokeIdentityRequest(_message.Message):
    __slots__ = ("principal",)
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    principal: str
    def __init__(self, principal: _Optional[str] = ...) -> None: ...

class RevokeIdentityResponse(_message.Message):
    __slots__ = ("federations",)
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    federations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, federations: _Optional[_Iterable[str]] = ...) -> None: ...
