"""Label flip: trains honestly on wrong answers.

Every token to be predicted becomes its mirror image in the vocabulary, `l -> V - 1 - l`; what is read stays as it is.

Source: Biggio et al. 2012, "Poisoning Attacks against Support Vector Machines" (arXiv 1206.6389) for flipped labels;
Fang et al. 2020, "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning" (arXiv 1911.11815) for the
mirror image of L classes.

Deviates: classes are tokens.
"""

from __future__ import annotations

from bench.poisoning.attack import Attack
from bench.simulator.stacked import Sequences
from coordinator.worker.calibration import IGNORED


def flip_labels(rows: Sequences, vocabulary: int) -> Sequences:
    """Return rows whose scored labels are mirrored; flipping twice gives the rows back.

    Args:
        rows: Tokens and labels of each row.
        vocabulary: V, above every label.
    """
    return [
        (tokens, [label if label == IGNORED else vocabulary - 1 - label for label in labels]) for tokens, labels in rows
    ]


ATTACK = Attack(name="label-flip", labels=flip_labels)
