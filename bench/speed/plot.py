"""The figures as a picture: how far each ratio is from its goal, and how memory grows with uploads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.speed.goals import Kind, Row

_DOTS_PER_INCH = 150
_WIDTH_INCHES, _BAR_INCHES, _PANEL_INCHES = 9.0, 0.42, 2.6
_REACHED, _SHORT = "#009E73", "#D55E00"  # after Okabe and Ito (2008): told apart with any colour vision


def margin(row: Row, ratio: float) -> float:
    """Return a ratio in units of its goal, above 1 where it is reached: a rate's by it, a cost's its inverse.

    Rows without a goal have none; see `judged`.
    """
    assert row.goal.bound is not None
    share = ratio / row.goal.bound
    return share if row.goal.kind is Kind.RATE else 1 / share


def judged(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that something is asked of."""
    return [row for row in rows if row.goal.bound is not None]


def draw(rows: Sequence[Row], file: Path) -> None:
    """Write a PNG: a bar for each goal, and a panel for each curve; nothing when there is nothing to show."""
    bars, curves = judged(rows), [row for row in rows if len(row.curve) > 1]
    if not bars:
        return
    heights = [1.0 + _BAR_INCHES * len(bars), *([_PANEL_INCHES] * len(curves))]
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw_bars(first, bars)
    for axes, row in zip(others, curves, strict=True):
        _draw_curve(axes, row)
    figure.savefig(file, dpi=_DOTS_PER_INCH)


def _draw_bars(axes: Any, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        low, high = sorted(margin(row, end) for end in (row.ratio.low, row.ratio.high))
        middle = margin(row, row.ratio.median)
        axes.barh(place, middle, color=_REACHED if row.reached else _SHORT)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [f"{row.goal.number}  {row.goal.what}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("share of the goal: at 1 and above it is reached (median, lines: range)")


def _draw_curve(axes: Any, row: Row) -> None:
    amounts, figures = zip(*row.curve, strict=True)
    axes.plot(amounts, figures, marker="o", color="#0072B2")
    axes.axhline(row.ceilings[0], color="black", linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("uploads at once")
    axes.set_ylabel(row.goal.unit)
    axes.set_title(row.goal.what, fontsize=8)
