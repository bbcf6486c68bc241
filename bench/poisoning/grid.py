"""The benchmark's trials: the quick form for every change, and the whole, bounded to 40 minutes of one free core."""

from __future__ import annotations

from bench.poisoning.campaign import Block
from bench.poisoning.defences import DEFAULT, PROTECTIONS, REFERENCE
from bench.poisoning.outcome import Placement
from bench.poisoning.verdict import REQUIRED_ATTACKS

HIDDEN = ("label-flip", "little-is-enough", "backdoor-boosted")
"""Attacks whose deltas are no longer than honest ones, or not by much."""

QUICK = (Block(attacks=("sign-flip", "scaled-10"), defences=("none", DEFAULT)),)

FULL = (
    Block(attacks=REQUIRED_ATTACKS, defences=(DEFAULT,), seeds=(0, 1, 2)),
    Block(attacks=(*REQUIRED_ATTACKS, *HIDDEN), defences=("none", REFERENCE, DEFAULT)),
    Block(attacks=("sign-flip", *HIDDEN), defences=(DEFAULT,), shares=(0.4,)),
    Block(attacks=("silent",), defences=(DEFAULT,), shares=(0.2, 0.4)),
    Block(attacks=("free-rider-zero", "free-rider-copy", "backdoor"), defences=(DEFAULT,)),
    Block(attacks=("sign-flip", "scaled-10", "little-is-enough"), defences=tuple(PROTECTIONS)),
    Block(attacks=("sign-flip", *HIDDEN), defences=(DEFAULT,), placements=(Placement.FAST, Placement.SLOW)),
    Block(attacks=("sign-flip", *HIDDEN), defences=(DEFAULT,), shares=(0.1,)),
    Block(attacks=HIDDEN, defences=(DEFAULT,), seeds=(1, 2)),
)
