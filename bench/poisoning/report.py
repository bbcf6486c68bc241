"""The report as Markdown and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence

from bench.poisoning.outcome import HONEST
from bench.poisoning.rows import Change, Row
from bench.poisoning.verdict import Check
from bench.report.markdown import table

NOTHING = "-"
HEADER = (
    "attack", "share", "machines", "defence", "seeds", "loss against clean", "worst domain", "backdoor by loss",
    "greedy", "attackers rejected", "their weight", "honest rejected: fresh", "stale", "guards' share of merging",
)  # fmt: skip


def report_markdown(
    rows: Sequence[Row], checks: Sequence[Check], settings: Mapping[str, str], plots: Mapping[str, str]
) -> str:
    """Return the report.

    Args:
        rows: What was measured.
        checks: What is required of the default.
        settings: What the runs have in common, by name.
        plots: Pictures by title, relative to the report.
    """
    pictures = [f"![{title}]({file})" for title, file in plots.items()]
    parts = [
        "# Poisoning",
        table(["setting", "value"], settings.items()),
        "## What is required of the default",
        check_table(checks),
        "## Every attack and defence",
        "Loss against the clean run of the same seed at today's defaults: median over seeds (range). Rejections count "
        "whatever the reason, a gated buffer too, over the deltas of all seeds.",
        loss_table(rows),
        *pictures,
    ]
    return "\n\n".join(parts) + "\n"


def loss_table(rows: Sequence[Row]) -> str:
    """Return one line per attack, share, placement and defence."""
    return table(HEADER, [_cells(row) for row in rows])


def check_table(checks: Sequence[Check]) -> str:
    """Return the checks with what was measured."""
    return table(
        ["attack", "defence", "demand", "at most", "measured", "result"],
        [
            [check.attack, check.defence, check.demand, _percent(check.bound), _percent(check.measured), check.result]
            for check in checks
        ],
    )


def summary_json(rows: Sequence[Row], checks: Sequence[Check], settings: Mapping[str, str]) -> str:
    """Return everything as JSON."""
    summary = {
        "settings": dict(settings),
        "checks": [{**dataclasses.asdict(check), "result": check.result} for check in checks],
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    return json.dumps(summary, indent=2) + "\n"


def _cells(row: Row) -> list[str]:
    clean = row.attack == HONEST
    return [
        row.attack,
        NOTHING if clean else _percent(row.share, digits=0),
        NOTHING if clean else row.placement,
        row.defence,
        str(row.seeds),
        _change(row.loss),
        _change(row.worst_domain),
        _percent(row.backdoor_by_loss, digits=0),
        _percent(row.backdoor_greedy, digits=0),
        _percent(row.attackers_rejected),
        _percent(row.attackers_weight),
        _percent(row.fresh_rejected),
        _percent(row.stale_rejected),
        _percent(row.guard_share),
    ]


def _change(change: Change) -> str:
    if change.least == change.most:
        return _signed(change.median)
    return f"{_signed(change.median)} ({_signed(change.least)} to {_signed(change.most)})"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "diverged"


def _percent(value: float | None, *, digits: int = 1) -> str:
    return NOTHING if value is None else f"{100 * value:.{digits}f} %"
