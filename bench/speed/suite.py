"""All measurements, one after the other."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from bench.speed.goals import MERGE_BF16, MERGE_FP32, Row
from bench.speed.merging import measure_merge
from bench.speed.polls import measure_polls
from bench.speed.transfers import measure_transfers

PARAMETERS_STEP = 8192
"""So that two factors of whole rows, in any dtype, are read as whole words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured.

    Attributes:
        parameters: Elements of a delta; a multiple of `PARAMETERS_STEP`.
        deltas: Deltas of a merge.
        calls: Calls of one round of polls.
        rounds: Rounds that count.
    """

    parameters: int
    deltas: int
    calls: int
    rounds: int


SHORT = Size(parameters=41_943_040, deltas=16, calls=4_000, rounds=5)
FULL = dataclasses.replace(SHORT, calls=20_000, rounds=15)


def measure(size: Size, *, say: Callable[[str], None]) -> tuple[Row, ...]:
    """Measure every goal.

    Raises:
        LocalProcessFailed: A server could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="alignfed-speed-") as folder:
        rows = [
            *measure_transfers(Path(folder), parameters=size.parameters, rounds=size.rounds, say=say),
            measure_polls(Path(folder), calls=size.calls, rounds=size.rounds, say=say),
        ]
    for goal, dtype in ((MERGE_FP32, torch.float32), (MERGE_BF16, torch.bfloat16)):
        sizes = {"parameters": size.parameters, "deltas": size.deltas, "rounds": size.rounds}
        rows.append(measure_merge(goal, dtype, **sizes, say=say))
    return tuple(sorted(rows, key=lambda row: int(row.goal.number)))
