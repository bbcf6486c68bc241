"""One place that is told what happens, and tells log, metrics, status file and the state kept over restarts."""

from __future__ import annotations

import dataclasses
import logging
import threading
from contextlib import AbstractContextManager
from typing import Any

from alignfed.errors import AlignFedError, DiskFull
from alignfed.tracing.spans import Around, NoOpTracer, Span, Tracer, Value, annotate, span
from edge_agent.domain import DeltaMeta, GlobalVersion, Receipt
from edge_agent.metrics import AgentMetrics
from edge_agent.outbox.outbox import Outbox, OutboxEntry
from edge_agent.state import StateDirectory
from edge_agent.status import Activity, StatusFile
from edge_agent.training.trainer import StepReport

logger = logging.getLogger(__name__)


class Journal:
    """Records the agent's life; safe for several threads.

    Args:
        directory: Where totals are kept.
        status: For displays.
        metrics: For Prometheus.
        outbox: Watched for its size.
        tracer: Makes spans; None for none.
    """

    def __init__(
        self,
        *,
        directory: StateDirectory,
        status: StatusFile,
        metrics: AgentMetrics,
        outbox: Outbox,
        tracer: Tracer | None = None,
    ) -> None:
        self._directory = directory
        self._tracer = tracer or NoOpTracer()
        self._who = {"federation": directory.state.federation, "agent_id": directory.state.agent_id}
        self._status = status
        self._metrics = metrics
        self._outbox = outbox
        self._lock = threading.Lock()
        behind = outbox.next_sequence - directory.state.next_sequence
        if behind > 0:  # killed after a delta was kept and before it was counted
            self._count(made=behind)
        totals, held = directory.state.totals, len(outbox.pending) + len(outbox.acknowledged)
        uncounted = max(0, totals.made - totals.merged - totals.rejected - totals.dropped - held)
        dropped = min(uncounted, outbox.dropped)
        if uncounted:  # killed after a delta left the outbox and before it was counted; most that leave are merged
            self._count(merged=uncounted - dropped, dropped=dropped)
        outbox.forget_dropped()
        self._show_totals()

    @property
    def next_sequence(self) -> int:
        """The number of the next delta."""
        return self._directory.state.next_sequence

    def activity(self, activity: Activity, detail: str = "") -> None:
        """Note what the agent does now."""
        self._status.update(state=activity, detail=detail)

    def training(self, base: GlobalVersion) -> AbstractContextManager[Span]:
        """Trace the making of a delta, the beginning of its trace; `made` says which one it is."""
        return span(self._tracer, "train delta", **self._who, base_version=base.number)

    def uploading(self, entry: OutboxEntry) -> AbstractContextManager[Span]:
        """Trace one try to upload a delta, a part of its trace also after a restart."""
        ids: dict[str, Value] = {"delta_id": entry.meta.delta_id, "base_version": entry.meta.base.number}
        return span(self._tracer, "upload delta", Around(parent=entry.trace_context), **self._who, **ids)

    def downloading(self, version: GlobalVersion) -> AbstractContextManager[Span]:
        """Trace one try to download a version."""
        return span(self._tracer, "download version", **self._who, version=version.number)

    def pulled(self, version: GlobalVersion) -> None:
        """Note the version that training starts from."""
        logger.info("training from a new version", extra={**self._who, "version": version.number})
        self._metrics.base_version(version.number)
        self._status.update(base_version=version.number)

    def waits_for_version(self, after: GlobalVersion) -> None:
        """Note that training waits for a version newer than one that a delta was made from."""
        logger.info("waiting for a version newer than %d", after.number)
        self.activity(
            Activity.WAITING, f"waiting for a version newer than {after.number}: a delta from it is under way"
        )

    def stepped(self, report: StepReport) -> None:
        """Note a training step."""
        self._metrics.step(seconds=report.seconds, loss=report.loss)
        self._status.update(step=report.step, steps=report.steps, loss=report.loss)

    def made(self, meta: DeltaMeta, *, mean_loss: float) -> None:
        """Note a delta that is in the outbox now; only then is it counted."""
        facts = {"examples": meta.examples, "steps": meta.local_steps, "mean_loss": mean_loss}
        annotate(delta_id=meta.delta_id, **facts)
        logger.info("delta trained", extra={**self._ids(meta), **facts, "bytes": meta.total_bytes})
        self._metrics.delta("made")
        self._count(made=1)

    def discarded(self, error: AlignFedError) -> None:
        """Note training that came to nothing."""
        logger.warning("training is discarded: %s", error.message, extra={**self._who, "reason": error.reason})
        self._metrics.delta("discarded")

    def acknowledged(self, meta: DeltaMeta) -> None:
        """Note that the coordinator holds a delta."""
        logger.info("delta uploaded", extra=self._ids(meta))
        self._metrics.delta("acknowledged")
        self._show_outbox()

    def lost(self, meta: DeltaMeta) -> None:
        """Note that the coordinator has lost a delta it had acknowledged."""
        logger.warning(
            "the coordinator has lost a delta, in a store failover perhaps: sending it again", extra=self._ids(meta)
        )
        self._metrics.delta("resent")
        self._show_outbox()

    def merged(self, meta: DeltaMeta, receipt: Receipt) -> None:
        """Note that a delta is part of a version."""
        number = receipt.merged_version.number if receipt.merged_version else None
        logger.info("delta is merged", extra={**self._ids(meta), "version": number})
        self._metrics.delta("merged")
        self._count(merged=1)

    def rejected(self, meta: DeltaMeta, receipt: Receipt) -> None:
        """Note that a delta will never be merged."""
        fields = {"reason": receipt.reason, "detail": receipt.detail}
        logger.warning("delta is rejected", extra={**self._ids(meta), **fields})
        self._metrics.delta("rejected")
        self._count(rejected=1)

    def dropped(self, meta: DeltaMeta) -> None:
        """Note a delta that was dropped because the outbox had no room for a newer one, and end its drop."""
        self._count(dropped=1)
        logger.warning(
            "the outbox is full: its oldest delta, which was not uploaded yet, is dropped, %d in all. "
            "See that the coordinator can be reached, or give the outbox more room with --max-outbox-bytes",
            self._directory.state.totals.dropped,
            extra={**self._ids(meta), "bytes": meta.total_bytes},
        )
        self._metrics.delta("dropped")
        self._outbox.forget_dropped()

    def privacy(self, epsilon: float, *, delta: float) -> None:
        """Note the privacy loss of all training on this agent's rows so far."""
        logger.info("privacy loss so far: epsilon %.3f at delta %g", epsilon, delta, extra=self._who)
        self._metrics.privacy(epsilon)
        self._status.update(privacy_epsilon=epsilon, privacy_delta=delta)

    def budget_spent(self, error: AlignFedError) -> None:
        """Note that training is over because going on would cost too much privacy."""
        logger.warning("%s", error.message, extra={**self._who, "reason": error.reason})

    def paused(self, seconds: float) -> None:
        """Note that the coordinator asked to wait before the next delta."""
        self._metrics.paced(seconds)

    def retried(self, error: AlignFedError) -> None:
        """Note a call that is tried again."""
        self._metrics.retry(error.reason)

    def _ids(self, meta: DeltaMeta) -> dict[str, Any]:
        """Return the fields of log lines that say which delta is meant."""
        return {**self._who, "delta_id": meta.delta_id, "base_version": meta.base.number}

    def _count(self, *, made: int = 0, merged: int = 0, rejected: int = 0, dropped: int = 0) -> None:
        """Add to the totals. Without space to keep them, they are kept with the next ones."""
        with self._lock:
            state = self._directory.state
            totals = dataclasses.replace(
                state.totals,
                made=state.totals.made + made,
                merged=state.totals.merged + merged,
                rejected=state.totals.rejected + rejected,
                dropped=state.totals.dropped + dropped,
            )
            try:
                self._directory.save(
                    dataclasses.replace(state, next_sequence=state.next_sequence + made, totals=totals)
                )
            except DiskFull as error:
                logger.warning("%s; the counts are kept in memory until then", error.message)
        self._show_totals()

    def _show_totals(self) -> None:
        totals = self._directory.state.totals
        self._status.update(
            deltas_made=totals.made,
            deltas_merged=totals.merged,
            deltas_rejected=totals.rejected,
            deltas_dropped=totals.dropped,
        )
        self._show_outbox()

    def _show_outbox(self) -> None:
        self._metrics.outbox(
            pending=len(self._outbox.pending),
            acknowledged=len(self._outbox.acknowledged),
            held_bytes=self._outbox.held_bytes,
        )
