"""The plan of a local run, unless a plan file is given: small enough for eight versions in minutes on two cores."""

from __future__ import annotations

from alignfed.plan import Aggregation, BaseModel, Buffer, Calibration, FederationPlan, Lora, Retention, Training
from coordinator.local.run_record import RunRecord

SLOWDOWNS = (1.0, 1.0, 2.0, 4.0)
"""How many times slower than this machine each agent trains, unless given: two fast ones, a slower and a slow one."""

SEQUENCE_LENGTH = 64
"""Tokens per row of source code: short rows keep a step cheap, and a few lines tell one package from another."""
OWN_DATA_SEQUENCE_LENGTH = 128
"""Tokens per row of one's own data: a chat template alone takes thirty, and an answer should fit behind its prompt."""
STEP_TOKENS = 256
"""Tokens per training step, whatever the length of a row."""
REPLAYABLE_VERSIONS = 8
"""The deltas of a demonstration are nobody's secret, and `alignfed replay` is one of the things it shows."""
FIT_ROWS, JUDGE_TOKENS = 4, 768
"""Calibration per merge: the worker shares the machine with the agents, so that a merge must cost seconds."""


def demo_plan(record: RunRecord, *, calibration_rows: int, versions: int) -> FederationPlan:
    """Return the plan of a local run.

    Args:
        record: What the run consists of.
        calibration_rows: How many the calibration set has; few rows are shared out in proportion.
        versions: How many versions are wanted; as many are retained, so that all can be evaluated.
    """
    length = record.sequence_length
    steps, buffer, fit, judge = (2, 2, 2, 4) if record.fast else (6, 3, FIT_ROWS, JUDGE_TOKENS // length)
    fit = min(fit, calibration_rows * 2 // 5)
    return FederationPlan(
        federation=record.federation,
        base_model=BaseModel(name=record.base_model),
        lora=Lora(rank=8, alpha=16.0, target_modules=("all-linear",)),
        training=Training(
            local_steps=steps, batch_size=STEP_TOKENS // length, sequence_length=length, learning_rate=1e-3
        ),
        buffer=Buffer(size=buffer, timeout_seconds=120.0),
        aggregation=Aggregation(),
        calibration=Calibration(fit_rows=fit, judge_rows=min(judge, calibration_rows - fit), sequence_length=length),
        retention=Retention(versions=max(64, versions + 1), delta_versions=REPLAYABLE_VERSIONS),
    ).validate()
