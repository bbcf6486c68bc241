"""The attacks, one file each. To add one: write its file and list it here."""

from __future__ import annotations

from bench.poisoning.attack import Attack
from bench.poisoning.attacks import (
    backdoor,
    free_rider,
    label_flip,
    little_is_enough,
    patient,
    scaled,
    sign_flip,
    silent,
)

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        sign_flip.ATTACK,
        scaled.TEN,
        scaled.HUNDRED,
        label_flip.ATTACK,
        little_is_enough.ATTACK,
        patient.ATTACK,
        backdoor.ATTACK,
        backdoor.BOOSTED,
        free_rider.ZERO,
        free_rider.COPY,
        silent.ATTACK,
    )
}
