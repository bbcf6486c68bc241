"""The report's picture: how much worse each attack makes the model under each defence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.poisoning.outcome import HONEST, Placement
from bench.poisoning.rows import Row
from bench.poisoning.verdict import REQUIRED_SHARE

_LIMIT = 10.0
"""Percent at which the colours end; the numbers in the cells go on."""


def write_plots(rows: Sequence[Row], folder: Path) -> dict[str, str]:
    """Write the picture below `folder` and return its place relative to the folder's parent by title; none for no rows.

    Rows of other shares and placements than the required ones are left to the table.
    """
    wanted = [
        row for row in rows if row.attack == HONEST or (row.share, row.placement) == (REQUIRED_SHARE, Placement.EVEN)
    ]
    if not wanted:
        return {}
    attacks = list(dict.fromkeys(row.attack for row in wanted))
    defences = list(dict.fromkeys(row.defence for row in wanted))
    percents = {(row.attack, row.defence): 100 * row.loss.median for row in wanted}
    figure = Figure(figsize=(2.5 + 1.3 * len(defences), 1.5 + 0.45 * len(attacks)), layout="constrained")
    FigureCanvasAgg(figure)  # not pyplot: no display, no global state
    axes = figure.subplots()
    cells = [[percents.get((attack, defence), math.nan) for defence in defences] for attack in attacks]
    shown = [[shade(value) for value in line] for line in cells]
    axes.imshow(shown, cmap="PuOr_r", vmin=-_LIMIT, vmax=_LIMIT, aspect="auto")
    for y, line in enumerate(cells):
        for x, value in enumerate(line):
            if not math.isnan(value):
                text = f"{value:+.1f} %" if math.isfinite(value) else "diverged"
                dark = abs(value) > 0.7 * _LIMIT
                axes.text(x, y, text, ha="center", va="center", fontsize="small", color="white" if dark else "black")
    axes.set_xticks(range(len(defences)), defences, rotation=30, ha="right")
    axes.set_yticks(range(len(attacks)), attacks)
    axes.set_title("Held-out loss against clean, a fifth of the fleet attacking (median over seeds)", fontsize="small")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "poisoning.png", dpi=150)
    return {"Held-out loss against clean": f"{folder.name}/poisoning.png"}


def shade(percent: float) -> float:
    """Return the percent that a cell is coloured for: cut at the limit; NaN, where nothing was run, stays blank."""
    return percent if math.isnan(percent) else min(_LIMIT, percent)  # min alone would take NaN for the worst
