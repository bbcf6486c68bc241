"""What a run may have beside its setup: agents that are not honest, a server that defends itself. Pure values.

The plain scenario is a fleet of honest agents and a server that merges whatever it can.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from alignfed.codec import Factors
from bench.federation.fleet import Agent
from bench.simulator.stacked import Sequences
from coordinator.algo.succession import Judging
from coordinator.algo.values import CalibrationProbe, DeltaInput, Load
from coordinator.domain import VersionId

EVALUATION_SHARES = (1 / 32, 1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0)
"""Points of the loss curve as shares of the duration: denser early, where losses fall fastest."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A delta that its agent is about to send: `versions` are all that are published, `load` trains it."""

    agent: Agent
    base: int
    versions: Sequence[Factors]
    load: Load


def _own_rows(_agent: Agent, rows: Sequences) -> Sequences:
    return rows


def _as_trained(trained: Trained) -> Load:
    return trained.load


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How agents behave.

    Attributes:
        rows: Gives what an agent trains on for the rows it holds.
        send: Gives what an agent sends for what it trained; None sends nothing.
    """

    rows: Callable[[Agent, Sequences], Sequences] = _own_rows
    send: Callable[[Trained], Load | None] = _as_trained


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of a delta: `reason` is empty when it was merged, with `coefficient`."""

    agent_id: str
    staleness_versions: int
    reason: str = ""
    coefficient: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a guard may look at before a merge.

    Attributes:
        head: Factors of the current version.
        base_factors: Factors of any version.
        recent_norms: Norms of the deltas that were merged lately.
        merged_by_agent: Deltas merged so far of every agent.
        merged_ids: Gives the ids of all deltas merged so far.
        probe: Gives the calibration set of this merge, None without one; made when it is asked for.
        version_number: Number of the version to be made.
        judging: Gives how a candidate of this merge is judged; None where none is.
    """

    head: Factors
    base_factors: Callable[[VersionId], Factors]
    recent_norms: Sequence[float]
    merged_by_agent: Mapping[str, int]
    merged_ids: Callable[[], Collection[str]]
    probe: Callable[[], CalibrationProbe | None]
    version_number: int
    judging: Callable[[], Judging | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What a guard made of a buffer: the deltas to go on with, and the reason for each that is rejected, by its id."""

    kept: tuple[DeltaInput, ...]
    rejected: Mapping[str, str] = dataclasses.field(default_factory=dict)


Guard = Callable[[Sequence[DeltaInput], View], Guarded]
"""Looks at a buffer before it is merged, may reject deltas and change others."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """What the server does against bad deltas beside the recipe.

    Attributes:
        guards: Asked before every merge, one after the other.
        gated: Asked when the candidate was gated, which deltas to try again without; None rejects the whole buffer.
        judges: False publishes every candidate and serves the moving average, True judges those of every recipe with
            a calibration set; None those of recipes that calibrate, as always.
    """

    guards: tuple[Guard, ...] = ()
    gated: Guard | None = None
    judges: bool | None = None


def _not_told(_settled: Settled) -> None:
    pass


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Attributes of a run that are no part of its key.

    Attributes:
        conduct: How agents behave.
        defence: What the server does about it.
        evaluation_shares: When losses are taken, as shares of the duration, ascending; the last is 1.
        told: Told what became of every delta.
    """

    conduct: Conduct = Conduct()
    defence: Defence = Defence()
    evaluation_shares: tuple[float, ...] = EVALUATION_SHARES
    told: Callable[[Settled], None] = _not_told


PLAIN = Scenario()
