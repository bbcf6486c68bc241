"""What every part of one worker process works with."""

from __future__ import annotations

import dataclasses

from alignfed.tracing.spans import NoOpTracer, Tracer
from coordinator.ports import Clock, Store
from coordinator.worker.metrics import WorkerMetrics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """The process's resources. `worker_id` is unique among all processes that ever share the store."""

    store: Store
    clock: Clock
    metrics: WorkerMetrics
    worker_id: str
    tracer: Tracer = dataclasses.field(default_factory=NoOpTracer)
