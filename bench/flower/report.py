"""What was measured, as plain values. The table is the one of `alignfed bench speed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bench.speed.report
from bench.flower.installed import Flower
from bench.speed.goals import Row


def summary(rows: Sequence[Row], flower: Flower, *, clients: int, tiny: bool) -> dict[str, Any]:
    """Return everything as plain values; a goal's `ceiling` is Flower.

    Args:
        rows: What was measured.
        flower: What it was measured against.
        clients: How many took part in a merge.
        tiny: Whether payloads were tiny, so that ratios say nothing.
    """
    return {
        **bench.speed.report.summary(rows),
        "flower": dict(flower.versions),
        "clients": clients,
        "tiny_payloads": tiny,
    }
