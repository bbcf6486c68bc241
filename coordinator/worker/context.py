"""What every part of one worker process works with."""

from __future__ import annotations

import dataclasses

from alignfed.tracing.spans import NoOpTracer, Tracer
from coordinator.ports import Clock, Store
from coordinator.signing import Signer
from coordinator.worker.metrics import WorkerMetrics

SWEEP_SECONDS = 60.0
"""How often a leader lets go of what retention does not keep: some cheap commands when there is nothing to do."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """The process's resources. `worker_id` is unique among all processes that ever share the store.

    `sweep_seconds` is how often a leader lets go of what retention does not keep.
    """

    store: Store
    clock: Clock
    metrics: WorkerMetrics
    worker_id: str
    sweep_seconds: float = SWEEP_SECONDS
    signer: Signer = dataclasses.field(default_factory=Signer)
    tracer: Tracer = dataclasses.field(default_factory=NoOpTracer)
