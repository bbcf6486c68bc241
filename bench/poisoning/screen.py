"""Screening as a guard of the simulated server: the production functions, with their memory kept for one run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from alignfed.codec import Factors
from alignfed.screening import Screening
from bench.simulator.scenario import Guarded, View
from coordinator import policy
from coordinator.algo.screening.references import References
from coordinator.algo.screening.screening import Memory, Screened, Standard, after_merge, screen
from coordinator.algo.values import DeltaInput, norm_of
from coordinator.domain import VersionId
from coordinator.worker.probes import Probe


class Screen:
    """Owns what screening remembers in one run.

    Args:
        settings: The plan's.
        probe: The calibration set; its rows for a version's merge give the reference direction at the version before.
    """

    def __init__(self, settings: Screening, probe: Probe) -> None:
        self._settings = settings
        self._probe = dataclasses.replace(
            probe, settings=dataclasses.replace(probe.settings, fit_rows=max(1, settings.reference_rows))
        )
        self._memory = Memory()
        self._last: Screened | None = None
        self._view: View | None = None
        self._references = References(self._gradient_at) if settings.reference_rows else None

    def __call__(self, deltas: Sequence[DeltaInput], view: View) -> Guarded:
        """Screen a buffer, once what became of the one before it is remembered."""
        if self._last is not None:
            self._memory = after_merge(self._memory, self._last, view.merged_ids())
        self._view = view
        norms = [norm_of(delta) for delta in deltas]
        usual = policy.norm_bound([*view.recent_norms, *norms], max_ratio=1.0)
        standard = Standard(usual_norm=usual, references=self._references, seed=1)
        self._last = screen(deltas, self._memory, self._settings, standard)
        return Guarded(
            kept=self._last.kept, rejected={delta: error.reason for delta, error in self._last.refused.items()}
        )

    def _gradient_at(self, base: VersionId) -> Factors:
        assert self._view is not None
        probe = self._probe.for_version(base.number + 1)
        return probe.fit_loss_and_gradient(self._view.base_factors(base))[1]
