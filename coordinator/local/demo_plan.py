"""The plan of a local run, unless a plan file is given: small enough for eight versions in minutes on two cores."""

from __future__ import annotations

from pathlib import Path

from alignfed.plan import Aggregation, BaseModel, Buffer, Calibration, FederationPlan, Lora, Retention, Training

SLOWDOWNS = (1.0, 1.0, 2.0, 4.0)
"""How many times slower than this machine each agent trains, unless given: two fast ones, a slower and a slow one."""

SEQUENCE_LENGTH = 64
FIT_ROWS, JUDGE_ROWS = 4, 12
"""Calibration rows per merge: the worker shares the machine with the agents, so that a merge must cost seconds."""


def demo_plan(federation: str, base_model: Path, *, calibration_rows: int, versions: int, fast: bool) -> FederationPlan:
    """Return the plan of a local run.

    Args:
        federation: Its name.
        base_model: Directory of the base model.
        calibration_rows: How many the calibration set has; few rows are shared out in the same proportion.
        versions: How many versions are wanted; as many are retained, so that all can be evaluated.
        fast: Shrink every budget, for a look or a test rather than for a result.
    """
    steps, buffer, fit, judge = (2, 2, 2, 4) if fast else (6, 3, FIT_ROWS, JUDGE_ROWS)
    fit = min(fit, calibration_rows * 2 // 5)
    return FederationPlan(
        federation=federation,
        base_model=BaseModel(name=str(base_model)),
        lora=Lora(rank=8, alpha=16.0, target_modules=("all-linear",)),
        training=Training(local_steps=steps, batch_size=4, sequence_length=SEQUENCE_LENGTH, learning_rate=1e-3),
        buffer=Buffer(size=buffer, timeout_seconds=120.0),
        aggregation=Aggregation(),
        calibration=Calibration(
            fit_rows=fit, judge_rows=min(judge, calibration_rows - fit), sequence_length=SEQUENCE_LENGTH
        ),
        retention=Retention(versions=max(64, versions + 1)),
    ).validate()
