"""What the agent speaks of: frozen values, plain JSON in and out, no torch, no protobuf, no I/O."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Any, Self

from alignfed.plain import from_plain
from alignfed.plan import Encoding, FederationPlan, TensorSpec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GlobalVersion:
    """Identity of a global version: all three must match for two versions to be the same one."""

    epoch: int
    number: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeadStatus:
    """The federation's state as the coordinator last told it."""

    head: GlobalVersion
    oldest_retained: int
    paused: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What registering brings: how to take part, and where the federation stands."""

    plan: FederationPlan
    status: HeadStatus


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What the agent says of itself.

    `memory_bytes` is what the trainer may use, `examples` how many it holds; 0 for unknown.
    """

    device: str = "cpu"
    memory_bytes: int = 0
    software_version: str = ""
    tier: str = ""
    examples: int = 0


class DeltaState(enum.StrEnum):
    """What has become of a delta."""

    QUEUED = "queued"
    MERGED = "merged"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The coordinator's durable acknowledgement of a delta; `merged_version` is set once merged."""

    delta_id: str
    state: DeltaState
    merged_version: GlobalVersion | None = None
    reason: str = ""
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResumeAt:
    """The coordinator has no receipt for a delta: upload it from `offset` (bytes) on."""

    offset: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeltaMeta:
    """Everything about a delta but its payload: what its upload announces, and `sequence`, its place in the outbox."""

    delta_id: str
    sequence: int
    base: GlobalVersion
    base_model_digest: str
    examples: int
    local_steps: int
    encoding: Encoding
    rank: int
    tensors: tuple[TensorSpec, ...]
    total_bytes: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """Build it from plain JSON values.

        Raises:
            PlainValueError: A key is unknown or missing, or a value has the wrong type.
        """
        return from_plain(cls, values)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreparedResidual:
    """What a sparse delta and those before it leave out: `content` of its file, and the returned deltas that are in."""

    content: bytes | bytearray
    returned: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDelta:
    """A delta ready for the outbox: `payload` is encoded as `meta` says; `residual` belongs to a sparse one."""

    meta: DeltaMeta
    payload: bytes | bytearray
    residual: PreparedResidual | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of an encrypted connection: whom to trust, and who one is where the coordinator asks for it."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the agent has made of its data so far, over all its restarts, in deltas; `dropped` for lack of room."""

    made: int = 0
    merged: int = 0
    rejected: int = 0
    dropped: int = 0
