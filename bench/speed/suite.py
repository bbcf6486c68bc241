"""All measurements, one after the other, or some of them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch

from bench.speed.alignment import measure_alignment
from bench.speed.checks import measure_checks
from bench.speed.goals import GOALS, MERGE_BF16, MERGE_FP32, Row
from bench.speed.local_model import LAYERS
from bench.speed.memory import FEW, MANY, measure_memory
from bench.speed.merging import measure_merge
from bench.speed.polls import measure_polls
from bench.speed.transfers import measure_payloads, measure_transfers
from bench.speed.watches import measure_watches
from bench.speed.whole_merges import measure_whole_merges

PARAMETERS_STEP = 8192
"""So that two factors of whole rows, in any dtype, are read as whole words."""

MOST_LONG_ROUNDS = 3
"""Of whole merges and of trainings: each takes seconds, and is compared with seconds of work; more say little more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        parameters: Elements of a delta; a multiple of `PARAMETERS_STEP`.
        deltas: Deltas of a merge.
        calls: Calls of one round of polls.
        uploads: How many at once, one after the other, while memory is looked at.
        uploaded_parameters: Elements of each of these uploads; all of them stay in the store for a while.
        watchers: Agents that watch.
        changes: What each of them is told in a round.
        layers: Of the model that is trained on, when it is made here.
        rounds: Rounds that count.
        model_dir: The model that is trained on; None to make one.
    """

    parameters: int
    deltas: int
    calls: int
    uploads: tuple[int, ...]
    uploaded_parameters: int
    watchers: int
    changes: int
    layers: int
    rounds: int
    model_dir: Path | None = None


SHORT = Size(
    parameters=41_943_040,
    deltas=16,
    calls=4_000,
    uploads=(1, FEW, 16, MANY),
    uploaded_parameters=41_943_040,
    watchers=500,
    changes=8,
    layers=LAYERS,
    rounds=5,
)
FULL = dataclasses.replace(
    SHORT,
    calls=20_000,
    uploads=(1, 2, 4, FEW, 16, 32, MANY),
    watchers=5_000,
    rounds=15,
)
QUICK = dataclasses.replace(
    SHORT,
    parameters=1_048_576,
    calls=400,
    uploads=(FEW, MANY),
    uploaded_parameters=1_048_576,
    watchers=50,
    layers=1,
    rounds=1,
)
"""Shows that it works; its ratios say nothing."""

Say = Callable[[str], None]


def _transfers(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    return measure_transfers(folder, parameters=size.parameters, rounds=size.rounds, say=say)


def _memory(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    return measure_memory(folder, parameters=size.uploaded_parameters, uploads=size.uploads, say=say)


def _polls(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    return [measure_polls(folder, calls=size.calls, rounds=size.rounds, say=say)]


def _watches(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    turns = {"changes": size.changes, "calls": size.calls, "rounds": size.rounds}
    return measure_watches(folder, watchers=size.watchers, **turns, say=say)


def _merges(_folder: Path, size: Size, say: Say) -> Sequence[Row]:
    goals = ((MERGE_FP32, torch.float32), (MERGE_BF16, torch.bfloat16))
    return [
        measure_merge(goal, dtype, parameters=size.parameters, deltas=size.deltas, rounds=size.rounds, say=say)
        for goal, dtype in goals
    ]


def _whole_merges(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    rounds = min(size.rounds, MOST_LONG_ROUNDS)
    return [measure_whole_merges(folder, parameters=size.parameters, deltas=size.deltas, rounds=rounds, say=say)]


def _alignment(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    rounds = min(size.rounds, MOST_LONG_ROUNDS)
    return measure_alignment(folder, model_dir=size.model_dir, layers=size.layers, rounds=rounds, say=say)


def _checks(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    return [measure_checks(folder, rounds=size.rounds, say=say)]


def _payloads(folder: Path, size: Size, say: Say) -> Sequence[Row]:
    return measure_payloads(folder, parameters=size.parameters, rounds=size.rounds, say=say)


PARTS: dict[str, Callable[[Path, Size, Say], Sequence[Row]]] = {
    "transfers": _transfers,
    "memory": _memory,
    "polls": _polls,
    "watches": _watches,
    "merges": _merges,
    "whole-merges": _whole_merges,
    "alignment": _alignment,
    "checks": _checks,
    "payloads": _payloads,
}
"""What can be measured by itself."""


def measure(size: Size, *, parts: Collection[str] = tuple(PARTS), say: Say) -> tuple[Row, ...]:
    """Measure every goal, or those of some parts.

    Raises:
        LocalProcessFailed: A server could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="alignfed-speed-") as folder:
        rows = [row for name in PARTS if name in parts for row in PARTS[name](Path(folder), size, say)]
    return tuple(sorted(rows, key=lambda row: GOALS.index(row.goal)))
