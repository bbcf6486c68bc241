"""A recipe: the choices that make up one way of aggregating."""

from __future__ import annotations

import dataclasses

from alignfed.errors import PlanInvalid
from coordinator.algo.alignment import Align
from coordinator.algo.calibrated import CoefficientFit
from coordinator.algo.centering import Centering
from coordinator.algo.gauge import transport_gauge
from coordinator.algo.weighting import Weighting


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to centre, align, weigh and calibrate; merging is the same for all.

    Attributes:
        name: What a federation plan calls it.
        weighting: How much each delta counts.
        align: How stale groups are carried to the head.
        centering: What is done about each group's mean.
        calibrate: How coefficients are fitted to the calibration set; None takes the weights as they are.
        needs_probe: Whether a federation without calibration set cannot use it.
    """

    name: str
    weighting: Weighting
    align: Align = transport_gauge
    centering: Centering = Centering.NONE
    calibrate: CoefficientFit | None = None
    needs_probe: bool = False

    def __post_init__(self) -> None:
        """Refuse a combination that has no meaning.

        Raises:
            PlanInvalid: Coefficients would be fitted to centred deltas, or fitted without a calibration set.
        """
        if self.calibrate is not None and self.centering is not Centering.NONE:
            raise PlanInvalid(f"recipe {self.name}: calibrated coefficients belong to deltas that are not centred")
        if self.calibrate is not None and not self.needs_probe:
            raise PlanInvalid(f"recipe {self.name}: calibrated coefficients need a calibration set (needs_probe)")
