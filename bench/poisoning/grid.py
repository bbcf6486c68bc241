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
    Block(attacks=("sign-flip",), defences=(REFERENCE,), seeds=(0, 1, 2)),
    Block(attacks=HIDDEN, defences=(DEFAULT,)),
    Block(attacks=("sign-flip",), defences=(REFERENCE, DEFAULT), shares=(0.4,)),
    Block(attacks=("sign-flip", "scaled-10"), defences=("none", REFERENCE)),
    Block(attacks=("little-is-enough",), defences=(DEFAULT,), shares=(0.4,)),
    Block(attacks=("silent",), defences=(DEFAULT,)),
    Block(attacks=("sign-flip", "little-is-enough"), defences=("median", "multi-krum", "trimmed-mean")),
    Block(attacks=HIDDEN, defences=(REFERENCE,)),
    Block(attacks=("sign-flip", "little-is-enough"), defences=(DEFAULT,), placements=(Placement.FAST, Placement.SLOW)),
    Block(attacks=("free-rider-zero", "free-rider-copy", "backdoor"), defences=(DEFAULT,)),
    Block(attacks=HIDDEN, defences=(DEFAULT,), shares=(0.1, 0.4)),
    Block(attacks=(*REQUIRED_ATTACKS, "little-is-enough"), defences=tuple(PROTECTIONS)),
    Block(attacks=("silent",), defences=(DEFAULT,), shares=(0.4,)),
    Block(attacks=("patient",), defences=(DEFAULT,), shares=(0.2, 0.4), seeds=(0, 1, 2)),
    Block(attacks=HIDDEN, defences=(DEFAULT,), seeds=(1, 2)),
)
