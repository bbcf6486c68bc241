"""Patient: knows the screening, and earns back with one delta what it spends on the next.

From every other version it trains honestly; from the others it sends its delta turned round, as long as screening lets
pass uncut. The evidence against it goes up and down and stays below the bound.

Source: AlignFed, made against `coordinator.algo.screening.evidence`.
"""

from __future__ import annotations

from alignfed.codec import Factors
from alignfed.screening import Screening
from bench.poisoning.attack import Attack, Knowledge
from bench.poisoning.attacks.scaled import scale


def send(known: Knowledge) -> Factors:
    """Return the honest delta at even base versions, at odd ones its negative at the length where clipping begins."""
    trained = known.trained()
    return trained if known.version % 2 == 0 else scale(trained, -Screening().clip_norm_ratio)


ATTACK = Attack(name="patient", send=send)
