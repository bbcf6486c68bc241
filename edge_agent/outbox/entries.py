"""A delta's directory in the outbox: how it is written, and read again after a restart."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from alignfed import failpoints
from alignfed.errors import DiskFull
from alignfed.plain import PlainValueError
from alignfed.tracing.context import sound_traceparent
from edge_agent.domain import DeltaMeta, PreparedDelta
from edge_agent.outbox.durable import sync_directory, write_synced

META_NAME = "meta.json"
PAYLOAD_NAME = "payload.safetensors"
TRACE_NAME = "traceparent"
REJECTION_NAME = "rejection.json"
RESIDUAL_NAME = "residual"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A delta in the outbox: `directory` holds its files, `trace_context` is the `traceparent` of its training."""

    meta: DeltaMeta
    directory: Path
    trace_context: str = ""

    @property
    def payload(self) -> Path:
        """Where the encoded delta is."""
        return self.directory / PAYLOAD_NAME


def read_entry(directory: Path) -> OutboxEntry | None:
    """Return the delta that a directory holds; None when it is not whole."""
    try:
        meta = DeltaMeta.from_dict(json.loads((directory / META_NAME).read_text("utf-8")))
        whole = (directory / PAYLOAD_NAME).stat().st_size == meta.total_bytes
    except (OSError, ValueError, RecursionError, PlainValueError):
        return None
    return OutboxEntry(meta=meta, directory=directory, trace_context=_trace_context(directory)) if whole else None


def write_entry(fresh: Path, delta: PreparedDelta, trace_context: str) -> None:
    """Write a delta's files into a new directory; what a full disk cut off is deleted, so that its space is free again.

    Raises:
        DiskFull, RequestInvalid: See `edge_agent.outbox.durable`.
    """
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with failpoints.around("outbox.put.create"):
            fresh.mkdir()
        with failpoints.around("outbox.put.payload"):
            write_synced(fresh / PAYLOAD_NAME, delta.payload)
        if delta.residual is not None:
            with failpoints.around("outbox.put.residual"):
                write_synced(fresh / RESIDUAL_NAME, delta.residual.content)
        with failpoints.around("outbox.put.meta"):
            write_synced(fresh / META_NAME, json.dumps(delta.meta.to_dict()).encode())
        if trace_context:
            with suppress(OSError):
                (fresh / TRACE_NAME).write_text(trace_context, "ascii")
        sync_directory(fresh)
    except (DiskFull, OSError):
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def in_order(entries: Iterable[OutboxEntry]) -> list[OutboxEntry]:
    """Return deltas as they were made, whatever the clock or the files' times say."""
    return sorted(entries, key=lambda entry: (entry.meta.sequence, entry.meta.delta_id))


def payload_bytes(entries: Iterable[OutboxEntry]) -> int:
    """Return the bytes of all their payloads; what lies beside them is small."""
    return sum(entry.meta.total_bytes for entry in entries)


def _trace_context(directory: Path) -> str:
    """Return a delta's trace context, if it has a sound one; a file of its own, so that no delta depends on it."""
    try:
        return sound_traceparent((directory / TRACE_NAME).read_text("ascii"))
    except (OSError, ValueError):
        return ""
