"""A federation to experiment on: base model, domains, and every setting that all recipes share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from alignfed.errors import CalibrationMissing
from alignfed.plan import Calibration, Lora
from bench.federation.data import Domain, digest_of
from coordinator.worker.calibration_rows import CalibrationRow, split_rows

BIASED = "biased"
PROMPTS = "prompts"
"""Controls of the server's calibration rows: the first domain alone, or prompts without answers."""
DEFAULT_CALIBRATION = Calibration(fit_rows=16, judge_rows=16, sequence_length=64)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """What is trained, on what, and how; the same for every recipe.

    Attributes:
        name: For reports.
        model_dir: The base model.
        model_digest: `alignfed.base_model.digest_of` it.
        domains: The data.
        lora: Rank, alpha, target modules.
        batch_size: Rows per local step.
        sequence_length: Tokens per row.
        learning_rate: Of local training.
        calibration: Rows per merge, and the judge's bound.
        representation_penalty: Lambda of equation (3); 0 for none.
        autocast: Multiply in bf16.
    """

    name: str
    model_dir: Path
    model_digest: str
    domains: tuple[Domain, ...]
    lora: Lora
    batch_size: int = 4
    sequence_length: int = 64
    learning_rate: float = 5e-3
    calibration: Calibration = DEFAULT_CALIBRATION
    representation_penalty: float = 0.0
    autocast: bool = False

    @property
    def digest(self) -> str:
        """Digest over everything that decides a run's losses (SHA-256, 16 hex digits)."""
        settings = [
            self.model_digest, digest_of(self.domains), dataclasses.asdict(self.lora), self.batch_size,
            self.sequence_length, self.learning_rate, dataclasses.asdict(self.calibration),
            self.representation_penalty, self.autocast,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def calibration_rows(domains: Sequence[Domain], variant: str) -> tuple[CalibrationRow, ...]:
    """Return the server's calibration rows: from every domain in turn, unless a control changes them.

    Raises:
        CalibrationMissing: The variant wants prompts and no row has one.
    """
    chosen = domains[:1] if variant == BIASED else domains
    turns = max(len(domain.calibration) for domain in chosen)
    rows = [domain.calibration[i] for i in range(turns) for domain in chosen if i < len(domain.calibration)]
    if variant == PROMPTS:
        rows = [CalibrationRow(prompt="", answer=row.prompt) for row in rows if row.prompt.strip()]
        if not rows:
            raise CalibrationMissing("rows of plain text have no prompts: the prompts-only control needs instructions")
    return tuple(dict.fromkeys(rows))


def check_control(federation: Federation, variant: str) -> None:
    """Check that the data make the calibration set that a control wants, before its first run does.

    Raises:
        CalibrationMissing: They do not, or it has fewer rows than one merge fits on and is judged by.
    """
    settings = federation.calibration
    rows = calibration_rows(federation.domains, variant)
    split_rows(rows, fit_rows=settings.fit_rows, judge_rows=settings.judge_rows, version_number=1)
