"""Port: letting go of records."""

from __future__ import annotations

from typing import Protocol

from alignfed.plan import Retention
from coordinator.retention import Trimmed


class Upkeep(Protocol):
    """Bounds what a federation's records take, as `Blobs.sweep` does for payloads."""

    async def trim(self, federation: str, retention: Retention, *, at: float) -> Trimmed:
        """Let go of receipts, merge records, dead letters and agents that retention does not keep any longer.

        Receipts of settled deltas go once their deltas are too old to be accepted again; merge records lose their
        deltas and groups; dead letters are rejected as DEAD_LETTER_EXPIRED, their payloads freed for `sweep`; agents
        go with their contributions, and register again if they come back. Revoked agents stay.

        Args:
            federation: Which one.
            retention: Its plan's.
            at: Now, Unix seconds: for the ages of dead letters and agents only.

        Returns:
            How much went. Idempotent; a crash leaves the rest for the next call. Works on a full store.
        """
        ...
