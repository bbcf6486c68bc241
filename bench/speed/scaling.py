"""How merging grows: seconds, their ratio to reading, and memory, by the number of deltas and by their size.

Every size is measured in a process of its own, whose peak memory is then the merge's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch

from alignfed.errors import LocalProcessFailed
from bench.processes import status_bytes
from bench.speed.goals import MERGE_BF16, Spread
from bench.speed.merging import measure_merge

MEGA = 1e6
DELTAS = (1, 4, 16, 64)
PARAMETERS = (1_048_576, 10_485_760, 41_943_040)
USUAL_DELTAS, USUAL_PARAMETERS = 16, 41_943_040
CHILD_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One size and what was measured: medians of rounds.

    Attributes:
        deltas: How many bf16 deltas were merged.
        parameters: Elements of each.
        seconds: Processor time of the merge, in one thread.
        ratio: To one read of the deltas' bytes.
        merge_bytes: By how much the process grew while it merged, beyond the deltas and the head, which were there.
        delta_bytes: Of all deltas together.
    """

    deltas: int
    parameters: int
    seconds: float
    ratio: float
    merge_bytes: int
    delta_bytes: int


def sizes() -> list[tuple[int, int]]:
    """Return numbers of deltas with parameters of each: one of the two varies, the other is as usual."""
    by_deltas = [(deltas, USUAL_PARAMETERS) for deltas in DELTAS]
    return by_deltas + [(USUAL_DELTAS, each) for each in PARAMETERS if each != USUAL_PARAMETERS]


def measure_scaling(rounds: int, *, say: Callable[[str], None]) -> list[Point]:
    """Measure every size, each in a process of its own.

    Raises:
        LocalProcessFailed: A measurement failed.
    """
    points = []
    for deltas, parameters in sizes():
        command = [sys.executable, "-m", "bench.speed.scaling", str(deltas), str(parameters), str(rounds)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=CHILD_SECONDS)
        if done.returncode:
            raise LocalProcessFailed(
                f"merging {deltas} deltas of {parameters} parameters ended with status {done.returncode}, for want of "
                f"memory perhaps: {done.stderr[-500:]}"
            )
        points.append(Point(**json.loads(done.stdout)))
        say(scaling_line(points[-1]))
    return points


def measure_point(deltas: int, parameters: int, rounds: int) -> Point:
    """Measure one size in this process; its peak memory is right only in a fresh one."""
    resident: list[int] = []
    row = measure_merge(
        MERGE_BF16,
        torch.bfloat16,
        parameters=parameters,
        deltas=deltas,
        rounds=rounds,
        say=lambda _line: None,
        prepared=lambda: resident.append(status_bytes(os.getpid(), "VmRSS")),
    )
    return Point(
        deltas=deltas,
        parameters=parameters,
        seconds=Spread.of(row.ours).median,
        ratio=row.ratio.median,
        merge_bytes=max(0, status_bytes(os.getpid(), "VmHWM") - resident[0]),
        delta_bytes=deltas * parameters * torch.bfloat16.itemsize,
    )


def scaling_table(points: Sequence[Point]) -> str:
    """Return one line for each size."""
    return "\n".join(["deltas  parameters   seconds  of a read    deltas     merge adds", *map(scaling_line, points)])


def scaling_line(point: Point) -> str:
    """Return one size's line of the table."""
    return (
        f"{point.deltas:>6}{point.parameters / MEGA:>10.1f} M{point.seconds:>10.3f}{point.ratio:>11.2f}"
        f"{point.delta_bytes / MEGA:>7.0f} MB{point.merge_bytes / MEGA:>12.0f} MB"
    )


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(measure_point(*map(int, sys.argv[1:4])))))
