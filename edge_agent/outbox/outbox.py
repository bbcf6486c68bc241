"""The durable outbox: a delta stays here from the moment it is trained until it is merged, rejected or dropped.

    outbox/new/            being written; whatever is found here at start is a leftover of a crash and is deleted
    outbox/pending/        to be uploaded
    outbox/acknowledged/   durable at the coordinator, not merged yet: kept, because a store failover may lose it there
    outbox/rejected/       the last few rejections, without payload, for people to look at
    outbox/dropped/        given up for lack of room, without payload, until they are counted

Beside them lies what sparse deltas leave out, see `edge_agent.outbox.leftovers`.

Each delta is one directory with `meta.json` and `payload.safetensors`. Every change of state is one rename, so a crash
at any point leaves a delta in exactly one state, whole. What a full disk refuses leaves it in the state that it had.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from alignfed import failpoints
from alignfed.errors import DiskFull
from edge_agent.domain import GlobalVersion, PreparedDelta, Receipt
from edge_agent.outbox.durable import replace_json, storing, sync_directory
from edge_agent.outbox.entries import (
    META_NAME,
    PAYLOAD_NAME,
    REJECTION_NAME,
    TRACE_NAME,
    OutboxEntry,
    in_order,
    payload_bytes,
    read_entry,
    write_entry,
)
from edge_agent.outbox.leftovers import Leftovers, comes_back

__all__ = ["DEFAULT_MAX_BYTES", "META_NAME", "PAYLOAD_NAME", "REJECTED_KEPT", "TRACE_NAME", "Outbox", "OutboxEntry"]

REJECTED_KEPT = 20
"""Rejections kept for people; enough to see a pattern."""

DEFAULT_MAX_BYTES = 4 * 2**30
"""Room for deltas: some 50 of an 8-billion-parameter model's, thousands of a small one's."""

_NEW, _PENDING, _ACKNOWLEDGED, _REJECTED, _DROPPED = "new", "pending", "acknowledged", "rejected", "dropped"

logger = logging.getLogger(__name__)


class Outbox:
    """Owns one outbox directory; safe to use from several threads of one process.

    Every method that writes raises `DiskFull` when the disk has no space and `RequestInvalid` when it cannot be
    written, and may then be called again.

    Args:
        root: The directory; created if missing. Only one process may use it at a time.
        max_bytes: Bytes of payloads to keep; `drop_oldest_for` drops pending deltas to stay within it.
    """

    def __init__(self, root: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self.leftovers = Leftovers(root)
        with storing(root):
            for state in (_NEW, _PENDING, _ACKNOWLEDGED, _REJECTED, _DROPPED):
                (root / state).mkdir(parents=True, exist_ok=True)
            self._clean()
            self._pending = self._load(_PENDING)
            self._acknowledged = self._load(_ACKNOWLEDGED)
            for held in self.pending:
                self.leftovers.adopt(held.directory)
        self._begun = set(self._pending)  # by an earlier run, perhaps

    @property
    def pending(self) -> list[OutboxEntry]:
        """Deltas to be uploaded, oldest first."""
        with self._changed:
            return in_order(self._pending.values())

    @property
    def acknowledged(self) -> list[OutboxEntry]:
        """Deltas that the coordinator holds and has not merged yet, oldest first."""
        with self._changed:
            return in_order(self._acknowledged.values())

    @property
    def next_sequence(self) -> int:
        """The smallest sequence number above every delta in the outbox."""
        return 1 + max((entry.meta.sequence for entry in self._held()), default=-1)

    @property
    def held_bytes(self) -> int:
        """Bytes of all deltas kept."""
        return payload_bytes(self._held())

    @property
    def dropped(self) -> int:
        """How many dropped deltas `forget_dropped` has not been told to forget; more than 0 at start after a crash."""
        return sum(1 for _ in (self._root / _DROPPED).iterdir())

    @property
    def full_of_acknowledged(self) -> bool:
        """Whether acknowledged deltas, which are never dropped, leave no room for another like the largest."""
        with self._changed:
            largest = max((entry.meta.total_bytes for entry in self._held()), default=0)
            return payload_bytes(self._acknowledged.values()) + largest > self._max_bytes

    def is_pending(self, delta_id: str) -> bool:
        """Whether a delta is still to be uploaded."""
        with self._changed:
            return delta_id in self._pending

    def has_delta_from(self, base: GlobalVersion) -> bool:
        """Whether a delta trained from `base` is neither merged nor rejected yet."""
        return any(entry.meta.base == base for entry in self._held())

    def put(self, delta: PreparedDelta, *, trace_context: str = "") -> OutboxEntry:
        """Keep a new delta. When this returns it survives any crash; before, it is there whole or not at all.

        Args:
            delta: The delta.
            trace_context: What its uploads are a part of, as `traceparent`; kept on a best-effort basis.
        """
        name = f"{delta.meta.sequence:010d}-{delta.meta.delta_id}"
        fresh = self._root / _NEW / name
        entry = OutboxEntry(meta=delta.meta, directory=self._root / _PENDING / name, trace_context=trace_context)
        with storing(self._root):
            if not self.is_pending(delta.meta.delta_id):  # it is when only the last step failed before
                write_entry(fresh, delta, trace_context)
            with self._changed:
                if delta.meta.delta_id not in self._pending:
                    with failpoints.around("outbox.put.rename"):
                        fresh.rename(entry.directory)
                    self._pending[delta.meta.delta_id] = entry
                    self._changed.notify_all()
                sync_directory(self._root / _PENDING)
                self.leftovers.adopt(entry.directory)
            if delta.residual is not None:
                self.leftovers.forget(delta.residual.returned)
        return entry

    def begin(self, delta_id: str) -> bool:
        """Return whether a delta is still pending, for its upload to begin: from now on it may have arrived."""
        with self._changed:
            self._begun |= {delta_id} & self._pending.keys()
            return delta_id in self._pending

    def drop_oldest_for(self, delta: PreparedDelta) -> OutboxEntry | None:
        """Drop the oldest pending delta if there is no room for a new one; None when there is, or nothing to drop.

        The caller counts it and then calls `forget_dropped`; after a crash in between, `dropped` tells.
        """
        with self._changed, storing(self._root):
            oldest = next(iter(in_order(self._pending.values())), None)
            if oldest is None or self.held_bytes + delta.meta.total_bytes <= self._max_bytes:
                return None
            self.leftovers.adopt(oldest.directory)
            target = self._root / _DROPPED / oldest.directory.name
            if comes_back(oldest.meta) and oldest.meta.delta_id not in self._begun:
                self.leftovers.take_back(oldest.directory, then=lambda: self._let_go(oldest.meta.delta_id))
                with suppress(OSError):  # it only counts
                    target.mkdir(exist_ok=True)
                return oldest
            with failpoints.around("outbox.drop.rename"):
                oldest.directory.rename(target)
            self._let_go(oldest.meta.delta_id)
            with suppress(OSError), failpoints.around("outbox.drop.delete"):  # else `forget_dropped` deletes it
                (target / PAYLOAD_NAME).unlink()
            return oldest

    def forget_dropped(self) -> None:
        """Delete what is left of dropped deltas: they are counted. Idempotent."""
        with storing(self._root):
            for directory in (self._root / _DROPPED).iterdir():
                shutil.rmtree(directory)

    def acknowledge(self, delta_id: str) -> None:
        """Note that the coordinator has made a pending delta durable. Idempotent."""
        with storing(self._root), failpoints.around("outbox.acknowledge"):
            self._move(delta_id, self._pending, self._acknowledged, _ACKNOWLEDGED)

    def reopen(self, delta_id: str) -> None:
        """Make an acknowledged delta pending again, because the coordinator has lost it. Idempotent."""
        with storing(self._root), failpoints.around("outbox.reopen"):
            self._move(delta_id, self._acknowledged, self._pending, _PENDING)

    def remove(self, delta_id: str) -> None:
        """Forget a merged delta. Idempotent."""
        with self._changed, storing(self._root):
            entry = self._find(delta_id)
            if entry is not None:
                self.leftovers.adopt(entry.directory)
                self._discard(entry.directory, then=lambda: self._let_go(delta_id))

    def reject(self, delta_id: str, receipt: Receipt) -> None:
        """Move a delta that will never be merged to the rejected ones, without its payload. Idempotent.

        Its space is freed before anything is written; why it was rejected is not noted where there is none. A sparse
        one that was rejected for its base version alone is kept for the next delta instead.
        """
        with self._changed, storing(self._root):
            entry = self._find(delta_id)
            if entry is None:
                return
            self.leftovers.adopt(entry.directory)
            if comes_back(entry.meta, reason=receipt.reason):
                self.leftovers.take_back(entry.directory, then=lambda: self._let_go(delta_id))
                return
            self.leftovers.clear(receipt.reason)
            target = self._root / _REJECTED / entry.directory.name
            with failpoints.around("outbox.reject.rename"):
                entry.directory.rename(target)
            self._let_go(delta_id)
            sync_directory(target.parent)
            with failpoints.around("outbox.reject.delete"):
                (target / PAYLOAD_NAME).unlink(missing_ok=True)
            with suppress(DiskFull):
                replace_json(target / REJECTION_NAME, {"reason": receipt.reason, "detail": receipt.detail})
            self._prune_rejected()

    def wait_until(self, holds: Callable[[Outbox], bool], *, timeout_seconds: float | None = None) -> bool:
        """Block until `holds(self)` (looked at after every change and `wake`) or the time is over; return whether."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self), timeout=timeout_seconds)

    def wake(self) -> None:
        """Make everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def _held(self) -> list[OutboxEntry]:
        with self._changed:
            return [*self._pending.values(), *self._acknowledged.values()]

    def _find(self, delta_id: str) -> OutboxEntry | None:
        return self._pending.get(delta_id) or self._acknowledged.get(delta_id)

    def _let_go(self, delta_id: str) -> None:
        self._pending.pop(delta_id, None)
        self._acknowledged.pop(delta_id, None)
        self._begun.discard(delta_id)
        self._changed.notify_all()

    def _move(self, delta_id: str, source: dict[str, OutboxEntry], target: dict[str, OutboxEntry], state: str) -> None:
        with self._changed, storing(self._root):
            entry = source.get(delta_id)
            if entry is None:
                return
            moved = self._root / state / entry.directory.name
            with failpoints.around("outbox.move.rename"):
                entry.directory.rename(moved)
            del source[delta_id]
            target[delta_id] = dataclasses.replace(entry, directory=moved)
            self._changed.notify_all()
            sync_directory(moved.parent)

    def _clean(self) -> None:
        """Delete what crashes have left behind."""
        for leftover in (self._root / _NEW).iterdir():
            with failpoints.around("outbox.clean.delete"):
                shutil.rmtree(leftover)
        for state in (_REJECTED, _DROPPED):
            for payload in (self._root / state).glob(f"*/{PAYLOAD_NAME}"):
                with failpoints.around("outbox.clean.delete"):
                    payload.unlink()
        self._prune_rejected()

    def _discard(self, directory: Path, *, then: Callable[[], None] = lambda: None) -> None:
        """Delete a delta's directory so that a crash leaves no half delta; `then` is called once it is gone."""
        leftover = self._root / _NEW / directory.name
        with failpoints.around("outbox.discard.rename"):
            directory.rename(leftover)
        then()
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
            entry = read_entry(directory)
            if entry is not None:
                found[entry.meta.delta_id] = entry
            else:  # never written by this module: a damaged disk, or someone's hand
                logger.warning("the outbox holds a damaged delta in %s: it is discarded", directory)
                self._discard(directory)
        return found
