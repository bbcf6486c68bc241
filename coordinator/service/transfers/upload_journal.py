"""One count and one log line per upload, however it ends."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from alignfed.errors import AlignFedError, Rejected, Unavailable
from alignfed.tracing.spans import annotate
from coordinator.domain import DeltaRecord
from coordinator.service.admission import DeltaRef
from coordinator.service.metrics import ServiceMetrics

logger = logging.getLogger(__name__)

_LOGGABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class UploadEntry:
    """What is known of one upload so far."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._metrics = metrics
        self.federation = ""  # stays empty until the name is known to exist: it becomes a label
        self.agent_id = "-"
        self.delta_id = "-"
        self.outcome = "failed"

    def name(self, ref: DeltaRef) -> None:
        """Note who sends what; the federation exists."""
        self.federation = ref.federation
        self.agent_id = _loggable(ref.agent_id)
        self.delta_id = _loggable(ref.delta_id)
        annotate(federation=self.federation, agent_id=self.agent_id, delta_id=self.delta_id)

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Count the upload as being served while the body runs."""
        with self._metrics.uploads_in_progress.track_inprogress():
            yield

    def stored(self, payload_bytes: int) -> None:
        """Count payload bytes."""
        self._metrics.upload_bytes.labels(self.federation).inc(payload_bytes)

    def duplicate(self) -> None:
        """Note that the delta was accepted before."""
        self.outcome = "duplicate"

    def accepted(self, delta: DeltaRecord, *, first: bool, staleness_versions: int) -> None:
        """Note that the delta is durable; `first` is False when another stream made it so before."""
        if not first:
            self.duplicate()
            return
        self.outcome = "accepted"
        self._metrics.delta_staleness_versions.labels(self.federation, "accept").observe(staleness_versions)
        annotate(base_version=delta.base.number, staleness_versions=staleness_versions)
        logger.info(
            "delta accepted",
            extra={
                **self.ids(),
                "base_version": delta.base.number,
                "staleness_versions": staleness_versions,
                "bytes": delta.payload.total_bytes,
                "examples": delta.examples,
            },
        )

    def ids(self) -> dict[str, str]:
        """Return the fields of log lines that say which delta is meant."""
        return {"federation": self.federation or "-", "agent_id": self.agent_id, "delta_id": self.delta_id}


class UploadJournal:
    """Counts uploads by outcome and logs what was refused."""

    def __init__(self, metrics: ServiceMetrics) -> None:
        self._metrics = metrics

    @contextmanager
    def upload(self) -> Iterator[UploadEntry]:
        """Record one upload; its outcome follows from how the body ends."""
        entry = UploadEntry(self._metrics)
        try:
            yield entry
        except BaseException as error:
            entry.outcome = _outcome(error)
            reason = error.reason if isinstance(error, AlignFedError) else ""
            logger.info("delta not accepted", extra={**entry.ids(), "outcome": entry.outcome, "reason": reason})
            raise
        finally:
            annotate(outcome=entry.outcome)
            self._metrics.uploads.labels(entry.federation, entry.outcome).inc()

    @contextmanager
    def averting(self, federation: str) -> Iterator[None]:
        """Count an upload that need not begin, when the body finds that it would be refused."""
        try:
            yield
        except AlignFedError as error:
            self._metrics.uploads_averted.labels(federation, error.reason).inc()
            raise


def _outcome(error: BaseException) -> str:
    match error:
        case asyncio.CancelledError():
            return "aborted"
        case Rejected():
            return f"rejected_{error.reason.lower()}"
        case Unavailable():
            return error.reason.lower()
        case _:
            return "failed"


def _loggable(text: str) -> str:
    """Return an id as it may stand in a log line: clients choose them."""
    return text if _LOGGABLE.fullmatch(text) else "malformed"
