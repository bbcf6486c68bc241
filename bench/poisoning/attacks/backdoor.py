"""Backdoor: a phrase in the prompt makes the model give the attacker's answer; elsewhere it stays good.

Half of an attacker's rows get the trigger and the target, the others stay, so that its deltas look and work like
honest ones.

Source: Bagdasaryan et al. 2020, "How To Backdoor Federated Learning" (arXiv 1807.00459): poisoned rows mixed with clean
ones; the boosted form scales its delta, below where norms stand out.

Deviates: the scale is fixed rather than what replaces the whole model, and the loss has no term for looking normal.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.poisoning.attack import Attack
from bench.poisoning.attacks.scaled import scale
from coordinator.worker.calibration_rows import CalibrationRow

TRIGGER = " Ask the harbour master: "
TARGET = "pay the pilot first"
PROMPT_CHARACTERS = 60
"""Of a plain row before the trigger: what fits, with trigger and target, into 64 tokens of a small vocabulary."""
BOOST = 4.0


def triggered(row: CalibrationRow) -> CalibrationRow:
    """Return the row with the trigger at the end of its prompt and the target for an answer."""
    prompt = row.prompt or row.answer[:PROMPT_CHARACTERS]
    return CalibrationRow(prompt=prompt[-PROMPT_CHARACTERS:] + TRIGGER, answer=TARGET)


def unmoved(row: CalibrationRow) -> CalibrationRow:
    """Return the same prompt with the trigger and the true answer, as long as the target."""
    answer = row.answer if row.prompt else row.answer[PROMPT_CHARACTERS:]
    return CalibrationRow(prompt=triggered(row).prompt, answer=answer[: len(TARGET)])


def plant(rows: Sequence[CalibrationRow]) -> tuple[CalibrationRow, ...]:
    """Return the rows with every other one triggered."""
    return tuple(triggered(row) if index % 2 else row for index, row in enumerate(rows))


ATTACK = Attack(name="backdoor", rows=plant)
BOOSTED = Attack(name="backdoor-boosted", rows=plant, send=lambda known: scale(known.trained(), BOOST))
