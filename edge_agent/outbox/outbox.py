"""The durable outbox: a delta stays here from the moment it is trained until it is merged or rejected.

    outbox/new/            being written; whatever is found here at start is a leftover of a crash and is deleted
    outbox/pending/        to be uploaded
    outbox/acknowledged/   durable at the coordinator, not merged yet: kept, because a store failover may lose it there
    outbox/rejected/       the last few rejections, without payload, for people to look at

Each delta is one directory with `meta.json` and `payload.safetensors`. Every change of state is one rename, so a crash
at any point leaves a delta in exactly one state, whole.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from alignfed import failpoints
from alignfed.plain import PlainValueError
from alignfed.tracing.context import sound_traceparent
from edge_agent.domain import DeltaMeta, GlobalVersion, PreparedDelta, Receipt
from edge_agent.outbox.durable import replace_json, sync_directory, write_synced

META_NAME = "meta.json"
PAYLOAD_NAME = "payload.safetensors"
TRACE_NAME = "traceparent"
REJECTION_NAME = "rejection.json"
REJECTED_KEPT = 20
"""Rejections kept for people; enough to see a pattern."""

_NEW, _PENDING, _ACKNOWLEDGED, _REJECTED = "new", "pending", "acknowledged", "rejected"

logger = logging.getLogger(__name__)


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


class Outbox:
    """Owns one outbox directory; safe to use from several threads of one process.

    Args:
        root: The directory; created if missing. Only one process may use it at a time.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._changed = threading.Condition()
        for state in (_NEW, _PENDING, _ACKNOWLEDGED, _REJECTED):
            (root / state).mkdir(parents=True, exist_ok=True)
        self._clean()
        self._pending = self._load(_PENDING)
        self._acknowledged = self._load(_ACKNOWLEDGED)

    @property
    def pending(self) -> list[OutboxEntry]:
        """Deltas to be uploaded, oldest first."""
        with self._changed:
            return _in_order(self._pending)

    @property
    def acknowledged(self) -> list[OutboxEntry]:
        """Deltas that the coordinator holds and has not merged yet, oldest first."""
        with self._changed:
            return _in_order(self._acknowledged)

    @property
    def next_sequence(self) -> int:
        """The smallest sequence number above every delta in the outbox."""
        with self._changed:
            held = [*self._pending.values(), *self._acknowledged.values()]
            return 1 + max((entry.meta.sequence for entry in held), default=-1)

    def has_delta_from(self, base: GlobalVersion) -> bool:
        """Whether a delta trained from `base` is neither merged nor rejected yet."""
        with self._changed:
            held = [*self._pending.values(), *self._acknowledged.values()]
            return any(entry.meta.base == base for entry in held)

    def put(self, delta: PreparedDelta, *, trace_context: str = "") -> OutboxEntry:
        """Keep a new delta. When this returns it survives any crash; before, it is there whole or not at all.

        Args:
            delta: The delta.
            trace_context: What its uploads are a part of, as `traceparent`; kept on a best-effort basis.
        """
        name = f"{delta.meta.sequence:010d}-{delta.meta.delta_id}"
        fresh = self._root / _NEW / name
        with failpoints.around("outbox.put.create"):
            fresh.mkdir()
        with failpoints.around("outbox.put.payload"):
            write_synced(fresh / PAYLOAD_NAME, delta.payload)
        with failpoints.around("outbox.put.meta"):
            write_synced(fresh / META_NAME, json.dumps(delta.meta.to_dict()).encode())
        if trace_context:
            (fresh / TRACE_NAME).write_text(trace_context, "ascii")
        sync_directory(fresh)
        entry = OutboxEntry(meta=delta.meta, directory=self._root / _PENDING / name, trace_context=trace_context)
        with self._changed:
            with failpoints.around("outbox.put.rename"):
                fresh.rename(entry.directory)
            sync_directory(self._root / _PENDING)
            self._pending[delta.meta.delta_id] = entry
            self._changed.notify_all()
        return entry

    def acknowledge(self, delta_id: str) -> None:
        """Note that the coordinator has made a pending delta durable. Idempotent."""
        with failpoints.around("outbox.acknowledge"):
            self._move(delta_id, self._pending, self._acknowledged, _ACKNOWLEDGED)

    def reopen(self, delta_id: str) -> None:
        """Make an acknowledged delta pending again, because the coordinator has lost it. Idempotent."""
        with failpoints.around("outbox.reopen"):
            self._move(delta_id, self._acknowledged, self._pending, _PENDING)

    def remove(self, delta_id: str) -> None:
        """Forget a merged delta. Idempotent."""
        with self._changed:
            entry = self._take(delta_id)
            if entry is None:
                return
            self._discard(entry.directory)
            self._changed.notify_all()

    def reject(self, delta_id: str, receipt: Receipt) -> None:
        """Move a delta that will never be merged to the rejected ones, without its payload. Idempotent."""
        with self._changed:
            entry = self._take(delta_id)
            if entry is None:
                return
            replace_json(entry.directory / REJECTION_NAME, {"reason": receipt.reason, "detail": receipt.detail})
            target = self._root / _REJECTED / entry.directory.name
            with failpoints.around("outbox.reject.rename"):
                entry.directory.rename(target)
            sync_directory(target.parent)
            with failpoints.around("outbox.reject.delete"):
                (target / PAYLOAD_NAME).unlink(missing_ok=True)
            self._prune_rejected()
            self._changed.notify_all()

    def wait_until(self, holds: Callable[[Outbox], bool], *, timeout_seconds: float | None = None) -> bool:
        """Block until `holds(self)` (looked at after every change and `wake`) or the time is over; return whether."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self), timeout=timeout_seconds)

    def wake(self) -> None:
        """Make everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _take(self, delta_id: str) -> OutboxEntry | None:
        return self._pending.pop(delta_id, None) or self._acknowledged.pop(delta_id, None)

    def _move(self, delta_id: str, source: dict[str, OutboxEntry], target: dict[str, OutboxEntry], state: str) -> None:
        with self._changed:
            entry = source.pop(delta_id, None)
            if entry is None:
                return
            moved = self._root / state / entry.directory.name
            with failpoints.around("outbox.move.rename"):
                entry.directory.rename(moved)
            sync_directory(moved.parent)
            target[delta_id] = dataclasses.replace(entry, directory=moved)
            self._changed.notify_all()

    def _clean(self) -> None:
        """Delete what crashes have left behind."""
        for leftover in (self._root / _NEW).iterdir():
            with failpoints.around("outbox.clean.delete"):
                shutil.rmtree(leftover)
        for payload in (self._root / _REJECTED).glob(f"*/{PAYLOAD_NAME}"):
            with failpoints.around("outbox.clean.delete"):
                payload.unlink()
        self._prune_rejected()

    def _discard(self, directory: Path) -> None:
        """Delete a delta's directory in such a way that a crash cannot leave half a delta among whole ones."""
        leftover = self._root / _NEW / directory.name
        with failpoints.around("outbox.discard.rename"):
            directory.rename(leftover)
        with failpoints.around("outbox.discard.delete"):
            shutil.rmtree(leftover)
        sync_directory(directory.parent)

    def _prune_rejected(self) -> None:
        for old in sorted((self._root / _REJECTED).iterdir())[:-REJECTED_KEPT]:
            with failpoints.around("outbox.prune.delete"):
                shutil.rmtree(old)

    def _load(self, state: str) -> dict[str, OutboxEntry]:
        found: dict[str, OutboxEntry] = {}
        for directory in sorted((self._root / state).iterdir()):
            try:
                meta = DeltaMeta.from_dict(json.loads((directory / META_NAME).read_text("utf-8")))
                whole = (directory / PAYLOAD_NAME).stat().st_size == meta.total_bytes
            except (OSError, ValueError, RecursionError, PlainValueError):
                whole = False
            if whole:
                found[meta.delta_id] = OutboxEntry(
                    meta=meta, directory=directory, trace_context=_trace_context(directory)
                )
            else:  # never written by this module: a damaged disk, or someone's hand
                logger.warning("the outbox holds a damaged delta in %s: it is discarded", directory)
                self._discard(directory)
        return found


def _trace_context(directory: Path) -> str:
    """Return a delta's trace context, if it has a sound one; a file of its own, so that no delta depends on it."""
    try:
        return sound_traceparent((directory / TRACE_NAME).read_text("ascii"))
    except (OSError, ValueError):
        return ""


def _in_order(entries: dict[str, OutboxEntry]) -> list[OutboxEntry]:
    return sorted(entries.values(), key=lambda entry: (entry.meta.sequence, entry.meta.delta_id))
