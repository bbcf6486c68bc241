"""A federation, its agents and the worker that leads it."""

from __future__ import annotations

import dataclasses

from alignfed.plan import FederationPlan
from coordinator.domain.payloads import BlobRef


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationRecord:
    """A federation as created: its plan and its calibration set (JSON Lines), if any."""

    plan: FederationPlan
    calibration: BlobRef | None
    created_at: float
    paused: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentRecord:
    """What is known of an agent. Times are seconds since the Unix epoch."""

    agent_id: str
    registered_at: float
    last_seen_at: float
    device: str = ""
    memory_bytes: int = 0
    software_version: str = ""
    tier: str = ""
    examples: int = 0
    revoked: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What an agent has contributed: merged deltas, sum of their weights, rejected deltas."""

    merged: int = 0
    weight: float = 0.0
    rejected: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseHolder:
    """The worker that may merge, for `seconds_left` more unless it renews its lease; `token` fences its commits."""

    worker_id: str
    token: int
    seconds_left: float
