"""What the coordinator and the worker need of a store. Each method says what repeating it does and what a crash leaves.

Backends: `coordinator.backends.memory` (tests, simulations) and `coordinator.backends.redis` (Redis 7.0+, Valkey 8+).
One contract suite, `tests/contract`, runs against every backend. All methods raise `StoreUnreachable` when the store
does not answer (the write may or may not have happened, which is why every write is idempotent) and `StoreFull` when it
refuses to grow; methods that name a federation raise `UnknownFederation` when it does not exist.
"""

from __future__ import annotations

from coordinator.ports.agents import Agents
from coordinator.ports.backups import Backups
from coordinator.ports.blobs import Blobs
from coordinator.ports.clock import Clock
from coordinator.ports.deltas import Deltas
from coordinator.ports.federations import Federations
from coordinator.ports.feed import HeadFeed
from coordinator.ports.identities import Identities
from coordinator.ports.leases import Leases
from coordinator.ports.store import Store
from coordinator.ports.upkeep import Upkeep
from coordinator.ports.versions import Versions

__all__ = [
    "Agents",
    "Backups",
    "Blobs",
    "Clock",
    "Deltas",
    "Federations",
    "HeadFeed",
    "Identities",
    "Leases",
    "Store",
    "Upkeep",
    "Versions",
]
