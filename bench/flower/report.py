"""What was measured, as plain values. The table is the one of `alignfed bench speed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bench.speed.report
from bench.flower.contest import Found
from bench.flower.installed import Flower


def summary(found: Sequence[Found], flower: Flower, *, clients: int, tiny: bool) -> dict[str, Any]:
    """Return everything as plain values; a goal's `ceiling` is Flower.

    Args:
        found: What was measured.
        flower: What it was measured against.
        clients: How many took part in a merge.
        tiny: Whether payloads were tiny, so that ratios say nothing.
    """
    return {
        **bench.speed.report.summary([it.row for it in found]),
        "processor_seconds": {
            it.row.goal.number: {"ours": dict(it.costs.ours), "flower": dict(it.costs.theirs)} for it in found
        },
        "flower": dict(flower.versions),
        "clients": clients,
        "tiny_payloads": tiny,
    }
