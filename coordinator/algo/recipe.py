"""A recipe: the choices that make up one way of aggregating."""

from __future__ import annotations

import dataclasses

from alignfed.errors import PlanInvalid
from coordinator.algo.align.alignment import Align, leave_alone
from coordinator.algo.align.centering import Centering
from coordinator.algo.align.gauge import transport_gauge
from coordinator.algo.calibrate.coefficients import CoefficientFit
from coordinator.algo.calibrate.training import CalibrationTraining
from coordinator.algo.merge.cohorts import Robust
from coordinator.algo.merge.mixed_rank import RankAveraging
from coordinator.algo.merge.server_step import ServerStep
from coordinator.algo.values import MergeSpace
from coordinator.algo.weigh.pace import Pace
from coordinator.algo.weigh.weighting import Weighting


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What a method asks of the agents.

    Attributes:
        synchronous: Agents wait for each other: every merge takes one fresh delta of each, as classic rounds do.
        freeze_a: Agents train only the B of each LoRA module.
    """

    synchronous: bool = False
    freeze_a: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to centre, align, weigh, calibrate and step.

    Attributes:
        name: What a federation plan calls it.
        weighting: How much each delta counts.
        align: How stale groups are carried to the head.
        centering: What is done about each group's mean.
        pace: How the step shrinks with the fleet's staleness; None leaves the server learning rate alone.
        calibrate: How coefficients are fitted to the calibration set; None takes the weights as they are.
        needs_probe: Whether a federation without calibration set cannot use it.
        server_step: What is made of the merged delta; None adds it to the head as it is.
        calibration_training: Steps on the calibration rows after each merge, for controls.
        robust: What stands for the deltas of a cohort instead of their weighted mean; None for that.
        space: Whether factors or their products are merged.
        rank_averaging: Over whom a component is averaged when agents have different ranks and factors are merged.
        buffer_size: Deltas per merge where the method fixes it; None leaves it to the plan.
        fleet: What is asked of the agents.
    """

    name: str
    weighting: Weighting
    align: Align = transport_gauge
    centering: Centering = Centering.NONE
    pace: Pace | None = None
    calibrate: CoefficientFit | None = None
    needs_probe: bool = False
    server_step: ServerStep | None = None
    calibration_training: CalibrationTraining | None = None
    robust: Robust | None = None
    space: MergeSpace = MergeSpace.FACTOR
    rank_averaging: RankAveraging = RankAveraging.PER_COMPONENT
    buffer_size: int | None = None
    fleet: Fleet = Fleet()

    def __post_init__(self) -> None:
        """Refuse a combination that has no meaning.

        Raises:
            PlanInvalid: Coefficients would be fitted to centred deltas, calibration rows are used without a calibration
                set, or a robust mean or a merge in product space is combined with what it cannot go with.
        """
        if self.calibrate is not None and self.centering is not Centering.NONE:
            raise PlanInvalid(f"recipe {self.name}: calibrated coefficients belong to deltas that are not centred")
        if (self.calibrate is not None or self.calibration_training is not None) and not self.needs_probe:
            raise PlanInvalid(f"recipe {self.name}: what uses calibration rows needs a calibration set (needs_probe)")
        if self.buffer_size is not None and self.buffer_size < 1:
            raise PlanInvalid(f"recipe {self.name}: a buffer of {self.buffer_size} deltas is never full")
        if self.robust is not None and not self._averages_factors:
            raise PlanInvalid(
                f"recipe {self.name}: a robust mean takes factors as they are, so it goes without centring, calibrated "
                "coefficients, server step, component-wise averages (rank_averaging) and product space"
            )
        if self.space is MergeSpace.PRODUCT and not self._plain:
            raise PlanInvalid(
                f"recipe {self.name}: in product space deltas are taken against their own bases, so it goes without "
                "alignment (leave_alone), centring, calibrated coefficients and server step"
            )

    @property
    def _averages_factors(self) -> bool:
        return (
            self.space is MergeSpace.FACTOR
            and self.centering is Centering.NONE
            and self.calibrate is None
            and self.server_step is None
            and self.rank_averaging is RankAveraging.ZERO_PADDED
        )

    @property
    def _plain(self) -> bool:
        return (
            self.align is leave_alone
            and self.centering is Centering.NONE
            and self.calibrate is None
            and self.server_step is None
        )
