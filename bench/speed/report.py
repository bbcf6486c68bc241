"""What was measured, as a table for people and as plain values."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import grpc
import torch

from bench.speed.goals import Kind, Row, Spread


def table(rows: Sequence[Row]) -> str:
    """Return one line for each goal: the ratio's median and range, what it must be, and whether it is."""
    lines = [f"{'goal':<5}{'ratio [range]':<22}{'must be':<10}{'':<12}what, against what (medians)"]
    for row in rows:
        goal, ratio = row.goal, row.ratio
        sign = ">=" if goal.kind is Kind.RATE else "<="
        wanted = "" if goal.bound is None else f"{sign} {goal.bound:g}"
        spread = f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"
        ours, best = Spread.of(row.ours).median, Spread.of(row.ceilings).median
        figures = f"{goal.what} ({ours:.4g} {goal.unit}), against {goal.ceiling} ({best:.4g} {goal.unit})"
        verdict = "" if goal.bound is None else "pass" if row.reached else "falls short"
        lines.append(f"{goal.number:<5}{spread:<22}{wanted:<10}{verdict:<12}{figures}")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return everything as plain values, with what it was measured on."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
            "torch": torch.__version__,
        },
        "goals": [
            {
                "number": row.goal.number,
                "what": row.goal.what,
                "ceiling": row.goal.ceiling,
                "unit": row.goal.unit,
                "bound": row.goal.bound,
                "kind": row.goal.kind.value,
                "ours": list(row.ours),
                "ceilings": list(row.ceilings),
                "ratio": {"median": row.ratio.median, "low": row.ratio.low, "high": row.ratio.high},
                "reached": row.reached,
                "curve": [list(point) for point in row.curve],
            }
            for row in rows
        ],
    }
