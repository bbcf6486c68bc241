import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
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
    ENCODING_FP32: _ClassVar[Encoding]
    ENCODING_BF16: _ClassVar[Encoding]
    ENCODING_INT8: _ClassVar[Encoding]
    ENCODING_INT8_GROUPS: _ClassVar[Encoding]
    ENCODING_TOPK: _ClassVar[Encoding]

class DeltaState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELTA_STATE_UNSPECIFIED: _ClassVar[DeltaState]
    DELTA_STATE_QUEUED: _ClassVar[DeltaState]
    DELTA_STATE_MERGED: _ClassVar[DeltaState]
    DELTA_STATE_REJECTED: _ClassVar[DeltaState]

class AdapterKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADAPTER_KIND_UNSPECIFIED: _ClassVar[AdapterKind]
    ADAPTER_KIND_TRAINING: _ClassVar[AdapterKind]
    ADAPTER_KIND_SERVED: _ClassVar[AdapterKind]
ENCODING_UNSPECIFIED: Encoding
ENCODING_FP32: Encoding
ENCODING_BF16: Encoding
ENCODING_INT8: Encoding
ENCODING_INT8_GROUPS: Encoding
ENCODING_TOPK: Encoding
DELTA_STATE_UNSPECIFIED: DeltaState
DELTA_STATE_QUEUED: DeltaState
DELTA_STATE_MERGED: DeltaState
DELTA_STATE_REJECTED: DeltaState
ADAPTER_KIND_UNSPECIFIED: AdapterKind
ADAPTER_KIND_TRAINING: AdapterKind
ADAPTER_KIND_SERVED: AdapterKind

class VersionId(_message.Message):
    __slots__ = ("epoch", "number", "digest")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    number: int
    digest: str
    def __init__(self, epoch: _Optional[int] = ..., number: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class HeadStatus(_message.Message):
    __slots__ = ("head", "oldest_retained_number", "paused", "hold_reason")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    OLDEST_RETAINED_NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    HOLD_REASON_FIELD_NUMBER: _ClassVar[int]
    head: VersionId
    oldest_retained_number: int
    paused: bool
    hold_reason: str
    def __init__(self, head: _Optional[_Union[VersionId, _Mapping]] = ..., oldest_retained_number: _Optional[int] = ..., paused: _Optional[bool] = ..., hold_reason: _Optional[str] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("name", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class BaseModel(_message.Message):
    __slots__ = ("name", "revision", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: str
    digest: str
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class LoraConfig(_message.Message):
    __slots__ = ("rank", "alpha", "dropout", "target_modules", "freeze_a")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    TARGET_MODULES_FIELD_NUMBER: _ClassVar[int]
    FREEZE_A_FIELD_NUMBER: _ClassVar[int]
    rank: int
    alpha: float
    dropout: float
    target_modules: _containers.RepeatedScalarFieldContainer[str]
    freeze_a: bool
    def __init__(self, rank: _Optional[int] = ..., alpha: _Optional[float] = ..., dropout: _Optional[float] = ..., target_modules: _Optional[_Iterable[str]] = ..., freeze_a: _Optional[bool] = ...) -> None: ...

class TrainingConfig(_message.Message):
    __slots__ = ("local_steps", "batch_size", "sequence_length", "learning_rate", "weight_decay", "max_grad_norm", "representation_penalty", "wait_for_version")
    LOCAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    local_steps: int
    batch_size: int
    sequence_length: int
    learning_rate: float
    weight_decay: float
    max_grad_norm: float
    representation_penalty: float
    wait_for_version: bool
    def __init__(self, local_steps: _Optional[int] = ..., batch_size: _Optional[int] = ..., sequence_length: _Optional[int] = ..., learning_rate: _Optional[float] = ..., weight_decay: _Optional[float] = ..., max_grad_norm: _Optional[float] = ..., representation_penalty: _Optional[float] = ..., wait_for_version: _Optional[bool] = ...) -> None: ...

class BufferConfig(_message.Message):
    __slots__ = ("size", "timeout")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    size: int
    timeout: _duration_pb2.Duration
    def __init__(self, size: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AggregationConfig(_message.Message):
    __slots__ = ("recipe", "server_learning_rate", "max_delta_norm_ratio")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    SERVER_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_DELTA_NORM_RATIO_FIELD_NUMBER: _ClassVar[int]
    recipe: str
    server_learning_rate: float
    max_delta_norm_ratio: float
    def __init__(self, recipe: _Optional[str] = ..., server_learning_rate: _Optional[float] = ..., max_delta_norm_ratio: _Optional[float] = ...) -> None: ...

class CalibrationConfig(_message.Message):
    __slots__ = ("fit_rows", "judge_rows", "sequence_length", "max_loss_increase_ratio")
    FIT_ROWS_FIELD_NUMBER: _ClassVar[int]
    JUDGE_ROWS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LOSS_INCREASE_RATIO_FIELD_NUMBER: _ClassVar[int]
    fit_rows: int
    judge_rows: int
    sequence_length: int
    max_loss_increase_ratio: float
    def __init__(self, fit_rows: _Optional[int] = ..., judge_rows: _Optional[int] = ..., sequence_length: _Optional[int] = ..., max_loss_increase_ratio: _Optional[float] = ...) -> None: ...

class ScreeningConfig(_message.Message):
    __slots__ = ("min_delta_norm_ratio", "clip_norm_ratio", "max_duplicate_cosine", "reference_rows", "max_suspicion", "gate_tries", "hold_after_gated")
    MIN_DELTA_NORM_RATIO_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_RATIO_FIELD_NUMBER: _ClassVar[int]
    MAX_DUPLICATE_COSINE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_SUSPICION_FIELD_NUMBER: _ClassVar[int]
    GATE_TRIES_FIELD_NUMBER: _ClassVar[int]
    HOLD_AFTER_GATED_FIELD_NUMBER: _ClassVar[int]
    min_delta_norm_ratio: float
    clip_norm_ratio: float
    max_duplicate_cosine: float
    reference_rows: int
    max_suspicion: float
    gate_tries: int
    hold_after_gated: int
    def __init__(self, min_delta_norm_ratio: _Optional[float] = ..., clip_norm_ratio: _Optional[float] = ..., max_duplicate_cosine: _Optional[float] = ..., reference_rows: _Optional[int] = ..., max_suspicion: _Optional[float] = ..., gate_tries: _Optional[int] = ..., hold_after_gated: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("chunk_bytes", "max_queue_deltas", "upload_lifetime")
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_DELTAS_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    chunk_bytes: int
    max_queue_deltas: int
    upload_lifetime: _duration_pb2.Duration
    def __init__(self, chunk_bytes: _Optional[int] = ..., max_queue_deltas: _Optional[int] = ..., upload_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("versions", "delta_versions", "receipt_versions", "record_versions", "dead_letters", "dead_letter", "agent")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DELTA_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    RECORD_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTERS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    versions: int
    delta_versions: int
    receipt_versions: int
    record_versions: int
    dead_letters: int
    dead_letter: _duration_pb2.Duration
    agent: _duration_pb2.Duration
    def __init__(self, versions: _Optional[int] = ..., delta_versions: _Optional[int] = ..., receipt_versions: _Optional[int] = ..., record_versions: _Optional[int] = ..., dead_letters: _Optional[int] = ..., dead_letter: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., agent: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PrivacyConfig(_message.Message):
    __slots__ = ("noise_multiplier", "clip_norm", "delta", "max_epsilon", "max_participations", "min_separation_versions")
    NOISE_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    MAX_EPSILON_FIELD_NUMBER: _ClassVar[int]
    MAX_PARTICIPATIONS_FIELD_NUMBER: _ClassVar[int]
    MIN_SEPARATION_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    noise_multiplier: float
    clip_norm: float
    delta: float
    max_epsilon: float
    max_participations: int
    min_separation_versions: int
    def __init__(self, noise_multiplier: _Optional[float] = ..., clip_norm: _Optional[float] = ..., delta: _Optional[float] = ..., max_epsilon: _Optional[float] = ..., max_participations: _Optional[int] = ..., min_separation_versions: _Optional[int] = ...) -> None: ...

class FederationPlan(_message.Message):
    __slots__ = ("federation", "base_model", "lora", "training", "delta_encoding", "buffer", "aggregation", "calibration", "limits", "retention", "tensors", "topk_ratio", "screening", "privacy")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    TRAINING_FIELD_NUMBER: _ClassVar[int]
    DELTA_ENCODING_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    TOPK_RATIO_FIELD_NUMBER: _ClassVar[int]
    SCREENING_FIELD_NUMBER: _ClassVar[int]
    PRIVACY_FIELD_NUMBER: _ClassVar[int]
    federation: str
    base_model: BaseModel
    lora: LoraConfig
    training: TrainingConfig
    delta_encoding: Encoding
    buffer: BufferConfig
    aggregation: AggregationConfig
    calibration: CalibrationConfig
    limits: Limits
    retention: Retention
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    topk_ratio: float
    screening: ScreeningConfig
    privacy: PrivacyConfig
    def __init__(self, federation: _Optional[str] = ..., base_model: _Optional[_Union[BaseModel, _Mapping]] = ..., lora: _Optional[_Union[LoraConfig, _Mapping]] = ..., training: _Optional[_Union[TrainingConfig, _Mapping]] = ..., delta_encoding: _Optional[_Union[Encoding, str]] = ..., buffer: _Optional[_Union[BufferConfig, _Mapping]] = ..., aggregation: _Optional[_Union[AggregationConfig, _Mapping]] = ..., calibration: _Optional[_Union[CalibrationConfig, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., retention: _Optional[_Union[Retention, _Mapping]] = ..., tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., topk_ratio: _Optional[float] = ..., screening: _Optional[_Union[ScreeningConfig, _Mapping]] = ..., privacy: _Optional[_Union[PrivacyConfig, _Mapping]] = ...) -> None: ...

class DeltaHeader(_message.Message):
    __slots__ = ("federation", "agent_id", "delta_id", "base_version", "base_model_digest", "examples", "local_steps", "encoding", "rank", "tensors", "total_bytes", "sha256")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    TENSORS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    federation: str
    agent_id: str
    delta_id: str
    base_version: VersionId
    base_model_digest: str
    examples: int
    local_steps: int
    encoding: Encoding
    rank: int
    tensors: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    total_bytes: int
    sha256: str
    def __init__(self, federation: _Optional[str] = ..., agent_id: _Optional[str] = ..., delta_id: _Optional[str] = ..., base_version: _Optional[_Union[VersionId, _Mapping]] = ..., base_model_digest: _Optional[str] = ..., examples: _Optional[int] = ..., local_steps: _Optional[int] = ..., encoding: _Optional[_Union[Encoding, str]] = ..., rank: _Optional[int] = ..., tensors: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., total_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("offset", "data", "crc32c")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    crc32c: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("delta_id", "state", "accepted_at", "merged_version", "reason", "detail")
    DELTA_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_FIELD_NUMBER: _ClassVar[int]
    MERGED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    delta_id: str
    state: DeltaState
    accepted_at: _timestamp_pb2.Timestamp
    merged_version: VersionId
    reason: str
    detail: str
    def __init__(self, delta_id: _Optional[str] = ..., state: _Optional[_Union[DeltaState, str]] = ..., accepted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., merged_version: _Optional[_Union[VersionId, _Mapping]] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class AgentCapabilities(_message.Message):
    __slots__ = ("device", "memory_bytes", "software_version", "tier", "examples")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    device: str
    memory_bytes: int
    software_version: str
    tier: str
    examples: int
    def __init__(self, device: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., software_version: _Optional[str] = ..., tier: _Optional[str] = ..., examples: _Optional[int] = ...) -> None: ...

class SignedManifest(_message.Message):
    __slots__ = ("manifest", "signature", "key_fingerprint")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    KEY_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    manifest: str
    signature: bytes
    key_fingerprint: str
    def __init__(self, manifest: _Optional[str] = ..., signature: _Optional[bytes] = ..., key_fingerprint: _Optional[str] = ...) -> None: ...

class AdapterHeader(_message.Message):
    __slots__ = ("version", "total_bytes", "sha256", "manifest")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    version: VersionId
    total_bytes: int
    sha256: str
    manifest: SignedManifest
    def __init__(self, version: _Optional[_Union[VersionId, _Mapping]] = ..., total_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., manifest: _Optional[_Union[SignedManifest, _Mapping]] = ...) -> None: ...
