"""How much of a poll's duration was ours: the rest is the wait that the agent asked for."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PollTime:
    """When things happened during one poll, in seconds on one monotonic clock.

    Attributes:
        arrived_at: When the poll arrived.
        waits_from: When everything was ready for an answer but a newer version.
        longest_wait_seconds: How long a newer version was waited for at most; zero or less for not at all.
        newer_at: When this process learnt of the newer version that the poll was answered with; None when there was
            none to tell of.
        answered_at: When the answer was ready.
    """

    arrived_at: float
    waits_from: float
    longest_wait_seconds: float
    newer_at: float | None
    answered_at: float

    @property
    def overhead_seconds(self) -> float:
        """Duration of the poll minus the time it deliberately waited.

        The deliberate wait ends with the news or with the patience, not when the answer gets its turn: a coordinator
        that is slow to wake ten thousand polls shows.
        """
        ends_at = self.waits_from + self.longest_wait_seconds if self.newer_at is None else self.newer_at
        waited = min(max(ends_at, self.waits_from), self.answered_at) - self.waits_from
        return self.answered_at - self.arrived_at - waited
