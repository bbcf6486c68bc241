"""What is to be reached: each goal compares a figure with a ceiling that the same run measures. Plain arithmetic."""

from __future__ import annotations

import dataclasses
import enum
import statistics
from collections.abc import Sequence


class Kind(enum.StrEnum):
    """What a figure is: more of a rate is better, more of a cost (time, memory) is worse."""

    RATE = "rate"
    COST = "cost"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal.

    Attributes:
        number: What documents call it.
        what: What is measured.
        ceiling: What it is compared with.
        bound: Least ratio of a rate to its ceiling's, largest ratio of a cost to its ceiling's; None for a figure that
            explains another one, and is no goal.
        kind: Of both figures.
        unit: Of both figures.
    """

    number: str
    what: str
    ceiling: str
    bound: float | None
    kind: Kind
    unit: str

    def reached_by(self, ratio: float) -> bool:
        """Whether a ratio is good enough; every ratio is where nothing is asked."""
        if self.bound is None:
            return True
        return ratio >= self.bound if self.kind is Kind.RATE else ratio <= self.bound


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(median=statistics.median(values), low=min(values), high=max(values))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A goal and what was measured, round by round: ours and the ceiling one after the other.

    Attributes:
        goal: What was measured.
        ours: Our figure of each round.
        ceilings: The ceiling's.
        curve: How ours grows: pairs of how much (uploads at once) and the figure then; empty where it was not asked.
    """

    goal: Goal
    ours: tuple[float, ...]
    ceilings: tuple[float, ...]
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def ratio(self) -> Spread:
        """Spread over rounds of ours divided by the ceiling."""
        return Spread.of([ours / ceiling for ours, ceiling in zip(self.ours, self.ceilings, strict=True)])

    @property
    def reached(self) -> bool:
        """Whether the median is good enough."""
        return self.goal.reached_by(self.ratio.median)


UPLOAD = Goal(
    number="1",
    what="an agent's upload of 84 MB to a coordinator that forgets it",
    ceiling="the same bytes over loopback TCP",
    bound=0.6,
    kind=Kind.RATE,
    unit="MB/s",
)
BARE_UPLOAD = Goal(
    number="1b",
    what="the same bytes over bare gRPC, unchecked",
    ceiling="the same bytes over loopback TCP",
    bound=None,
    kind=Kind.RATE,
    unit="MB/s",
)
UPLOAD_COST = Goal(
    number="1c",
    what="the coordinator's processor time for a gigabyte that it forgets",
    ceiling="that of a bare gRPC server",
    bound=None,
    kind=Kind.COST,
    unit="s/GB",
)
STORED_UPLOAD = Goal(
    number="2",
    what="four agents' uploads of 84 MB, durable within a second",
    ceiling="the same uploads to a coordinator that forgets them",
    bound=0.4,
    kind=Kind.RATE,
    unit="MB/s",
)
STORED_COST = Goal(
    number="2b",
    what="the coordinator's processor time for a gigabyte that it accepts",
    ceiling="its processor time for one that it forgets",
    bound=None,
    kind=Kind.COST,
    unit="s/GB",
)
UNLOGGED_UPLOAD = Goal(
    number="2c",
    what="four agents' uploads of 84 MB into a store that keeps them in memory alone",
    ceiling="the same uploads to a coordinator that forgets them",
    bound=0.75,
    kind=Kind.RATE,
    unit="MB/s",
)
MERGE_FP32 = Goal(
    number="4",
    what="merge of 16 fp32 deltas of 42 M parameters",
    ceiling="reading the same bytes once",
    bound=1.7,
    kind=Kind.COST,
    unit="s",
)
MERGE_BF16 = Goal(
    number="5",
    what="merge of 16 bf16 deltas of 42 M parameters",
    ceiling="reading the same bytes once",
    bound=3.6,
    kind=Kind.COST,
    unit="s",
)
WHOLE_MERGE = Goal(
    number="5b",
    what="the worker's whole merge of 16 bf16 deltas of 42 M parameters, from the store and into it",
    ceiling="fetching these deltas from the store",
    bound=None,
    kind=Kind.COST,
    unit="s",
)
POLL = Goal(
    number="8",
    what="polls answered per second of the coordinator's processor time",
    ceiling="empty RPCs of a bare server",
    bound=0.9,
    kind=Kind.RATE,
    unit="/s",
)
MEMORY = Goal(
    number="3",
    what="the coordinator's memory with 64 uploads at once",
    ceiling="what it may hold",
    bound=1.0,
    kind=Kind.COST,
    unit="MB",
)
MEMORY_GROWTH = Goal(
    number="3b",
    what="the coordinator's memory with 64 uploads at once",
    ceiling="its memory with 8",
    bound=1.5,
    kind=Kind.COST,
    unit="MB",
)
WATCH = Goal(
    number="9",
    what="the coordinator's processor time for telling a thousand agents that watch",
    ceiling="its processor time for a thousand polls",
    bound=0.25,
    kind=Kind.COST,
    unit="s",
)
WATCHER_MEMORY = Goal(
    number="9b",
    what="the coordinator's memory for an agent that watches, its connection included",
    ceiling="what it may take",
    bound=1.0,
    kind=Kind.COST,
    unit="kB",
)
DOWNLOAD = Goal(
    number="10",
    what="eight agents' downloads of a version of 168 MB",
    ceiling="eight uploads to a coordinator that forgets them",
    bound=0.75,
    kind=Kind.RATE,
    unit="MB/s",
)
TLS_UPLOAD = Goal(
    number="11",
    what="eight agents' uploads of 84 MB over mutual TLS, with identities",
    ceiling="the same uploads without",
    bound=0.5,
    kind=Kind.RATE,
    unit="MB/s",
)
_TRAINING = "an agent's local training for one delta"
ALIGN_DEFAULT = Goal(
    number="12",
    what="aligning a merge of four deltas with the default recipe: its coefficients are fitted on calibration rows",
    ceiling=_TRAINING,
    bound=0.1,
    kind=Kind.COST,
    unit="s",
)
ALIGN_FEATURES = Goal(
    number="12b",
    what="the same by features, as published (alignfed-paper), three of the four stale",
    ceiling=_TRAINING,
    bound=0.1,
    kind=Kind.COST,
    unit="s",
)
ALIGN_ACTIVATIONS = Goal(
    number="12c",
    what="the same by activations (activation-transport), three of the four stale",
    ceiling=_TRAINING,
    bound=0.1,
    kind=Kind.COST,
    unit="s",
)
CHECKS = Goal(
    number="13",
    what="finding out who sends a delta of 120 tensors, and whether it has the plan's form",
    ceiling="the whole upload of such a delta, 1.8 MB, over mutual TLS",
    bound=0.05,
    kind=Kind.COST,
    unit="ms",
)
FILES_UPLOAD = Goal(
    number="14",
    what="four agents' uploads of 84 MB into files, every part forced to the disk",
    ceiling="the same uploads into the embedded store (everysec)",
    bound=None,
    kind=Kind.RATE,
    unit="MB/s",
)
FILES_COST = Goal(
    number="14b",
    what="the coordinator's processor time for a gigabyte that it puts into files",
    ceiling="the same for one that it puts into the embedded store",
    bound=None,
    kind=Kind.COST,
    unit="s/GB",
)

GOALS = (
    UPLOAD,
    BARE_UPLOAD,
    UPLOAD_COST,
    STORED_UPLOAD,
    STORED_COST,
    UNLOGGED_UPLOAD,
    MEMORY,
    MEMORY_GROWTH,
    MERGE_FP32,
    MERGE_BF16,
    WHOLE_MERGE,
    POLL,
    WATCH,
    WATCHER_MEMORY,
    DOWNLOAD,
    TLS_UPLOAD,
    ALIGN_DEFAULT,
    ALIGN_FEATURES,
    ALIGN_ACTIVATIONS,
    CHECKS,
    FILES_UPLOAD,
    FILES_COST,
)
"""Numbers that are missing here are those of `alignfed bench flower`."""
