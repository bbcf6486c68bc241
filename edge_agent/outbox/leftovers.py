"""What sparse deltas left out, and sparse deltas that came back: kept for the deltas to come.

    outbox/residual        what the deltas made so far have left out (made and read by `edge_agent.training.feedback`)
    outbox/returned/       deltas whose content nobody has: it goes into the next one

A delta is written together with the residual that it leaves, in one directory, and both become valid by the one rename
that makes the delta pending: so what was trained is in a delta or in the residual, and never in both, after any crash.
The residual then moves out, so that it outlives the delta.

A delta comes back when it is dropped for lack of room, or rejected for its base version alone, which says nothing about
its content. Other rejections are about the content: it is let go, lest it be refused for ever. When the base version
was rolled back, the residual, which grew on the same branch, goes too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from alignfed import failpoints
from alignfed.errors import BaseVersionInFuture, BaseVersionOtherBranch, BaseVersionTooOld, BaseVersionUnknown
from alignfed.plan import Encoding
from edge_agent.domain import DeltaMeta
from edge_agent.outbox.durable import storing, sync_directory
from edge_agent.outbox.entries import RESIDUAL_NAME, OutboxEntry, in_order, read_entry

RETURNED_REASONS = frozenset(error.reason for error in (BaseVersionTooOld, BaseVersionUnknown, BaseVersionInFuture))
_RETURNED = "returned"


def comes_back(meta: DeltaMeta, *, reason: str | None = None) -> bool:
    """Whether a delta's content is sent again: in `topk`, once it is dropped (no reason) or rejected for `reason`."""
    return meta.encoding is Encoding.TOPK and (reason is None or reason in RETURNED_REASONS)


class Leftovers:
    """Owns the residual and the returned deltas of one outbox.

    Every method that writes raises `DiskFull` when the disk has no space and `RequestInvalid` when it cannot be
    written, and may then be called again.

    Args:
        root: The outbox's directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        with storing(root):
            (root / _RETURNED).mkdir(parents=True, exist_ok=True)

    @property
    def residual(self) -> Path:
        """Where the residual is; there may be none."""
        return self._root / RESIDUAL_NAME

    def returned(self) -> list[OutboxEntry]:
        """Return the deltas that came back, oldest first; damaged ones are left out, and forgotten with the others."""
        return in_order(entry for directory in self._returned() if (entry := read_entry(directory)) is not None)

    def adopt(self, directory: Path) -> None:
        """Take the residual that lies with a delta, the newest one made, in place of the one before. Idempotent."""
        beside = directory / RESIDUAL_NAME
        if beside.exists():
            with storing(self._root):
                with failpoints.around("outbox.residual.adopt"):
                    beside.replace(self.residual)
                sync_directory(self._root)

    def take_back(self, directory: Path, *, then: Callable[[], None]) -> None:
        """Keep a delta's directory for the next delta, in one rename; `then` is called once it is not where it was."""
        target = self._root / _RETURNED / directory.name
        with storing(self._root):
            with failpoints.around("outbox.return.rename"):
                directory.rename(target)
            then()
            sync_directory(target.parent)

    def forget(self, delta_ids: Collection[str]) -> None:
        """Delete returned deltas that a residual or another delta contains now. Idempotent."""
        with storing(self._root):
            for directory in self._returned():
                entry = read_entry(directory)
                if entry is None or entry.meta.delta_id in delta_ids:
                    with failpoints.around("outbox.return.delete"):
                        shutil.rmtree(directory)

    def clear(self, reason: str = BaseVersionOtherBranch.reason) -> None:
        """Forget the residual if a rejection for `reason` says that it grew on a branch that was rolled back."""
        if reason == BaseVersionOtherBranch.reason:
            with storing(self._root), failpoints.around("outbox.residual.clear"):
                self.residual.unlink(missing_ok=True)

    def _returned(self) -> list[Path]:
        return sorted((self._root / _RETURNED).iterdir())
