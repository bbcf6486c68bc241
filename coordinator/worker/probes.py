"""Calibration per federation: its rows from the store, on its base model, checked and loaded once per process."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from pathlib import Path

from alignfed.base_model import check_digest, locate
from alignfed.plan import Calibration
from coordinator.algo.values import CalibrationProbe
from coordinator.domain import FederationRecord
from coordinator.ports import Blobs
from coordinator.worker.calibration import CalibrationModel
from coordinator.worker.calibration_rows import CalibrationRow, rows_from_jsonl, split_rows
from coordinator.worker.payloads import fetch

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One federation's calibration set on its base model; fit rows rotate from version to version."""

    model: CalibrationModel
    rows: tuple[CalibrationRow, ...]
    settings: Calibration
    reference_rows: int = 0

    @property
    def can_judge(self) -> bool:
        """Whether there are rows to judge candidates by."""
        return self.settings.judge_rows > 0

    @property
    def can_reference(self) -> bool:
        """Whether there are rows that do not judge, to take reference directions on."""
        return len(self.rows) > self.settings.judge_rows

    def reference_for(self, number: int) -> CalibrationProbe:
        """Return a probe whose fit rows give the reference direction of version `number`; they rotate as others do."""
        split = split_rows(
            self.rows,
            fit_rows=min(self.reference_rows, len(self.rows) - self.settings.judge_rows),
            judge_rows=self.settings.judge_rows,
            version_number=number,
        )
        return self.model.probe(dataclasses.replace(split, judge=()))

    def for_version(self, number: int) -> CalibrationProbe:
        """Return the probe for the merge that makes version `number`."""
        split = split_rows(
            self.rows,
            fit_rows=self.settings.fit_rows,
            judge_rows=self.settings.judge_rows,
            version_number=number,
        )
        return self.model.probe(split)


class Probes:
    """Owns the calibration models of one worker process.

    Args:
        blobs: Where calibration sets are stored.
        base_model: Directory of the base model, when it is not where the plan says.
        threads: Threads of torch; 0 for torch's own choice.
    """

    def __init__(self, blobs: Blobs, *, base_model: Path | None, threads: int) -> None:
        self._blobs = blobs
        self._base_model = base_model
        self._threads = threads or None
        self._loaded: dict[str, Probe] = {}

    async def for_federation(self, record: FederationRecord) -> Probe | None:
        """Return the federation's probe; None when it has no calibration set.

        Raises:
            WrongBaseModel: The base model is not to be found, or is another one.
            CalibrationMissing: The calibration set is damaged or too small for the plan.
        """
        federation = record.plan.federation
        if record.calibration is None:
            return None
        if federation not in self._loaded:
            rows = rows_from_jsonl(bytes(await fetch(self._blobs, record.calibration)))
            self._loaded[federation] = await asyncio.to_thread(self._load, record, rows)
        return self._loaded[federation]

    def _load(self, record: FederationRecord, rows: tuple[CalibrationRow, ...]) -> Probe:
        plan = record.plan
        directory = locate(plan.base_model, self._base_model)
        log.info("%s: loading the base model from %s", plan.federation, directory)
        check_digest(directory, plan.base_model)
        model = CalibrationModel(
            directory, plan.lora, sequence_length=plan.calibration.sequence_length, threads=self._threads
        )
        probe = Probe(
            model=model,
            rows=rows,
            settings=plan.calibration,
            reference_rows=plan.screening.reference_rows,
        )
        probe.for_version(0)  # too few rows are found out now, not at the first merge
        return probe
