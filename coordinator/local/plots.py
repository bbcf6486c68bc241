"""The report's pictures as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coordinator.local.report import Report

_INCHES = (8.0, 4.8)
_DOTS_PER_INCH = 150


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write all plots of a report below `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {
        "loss_per_version.png": _loss_per_version,
        "staleness.png": _staleness,
        "weight_per_agent.png": _weight_per_agent,
    }
    paths = []
    for name, draw in plots.items():
        figure = Figure(figsize=_INCHES, layout="constrained")  # not pyplot: no display, no global state
        FigureCanvasAgg(figure)
        draw(report, figure.subplots())
        figure.savefig(folder / name, dpi=_DOTS_PER_INCH)
        paths.append(folder / name)
    return paths


def _loss_per_version(report: Report, axes: Any) -> None:
    numbers = [version.number for version in report.versions]
    for domain in report.domains:
        losses = [version.held_out[domain.domain] for version in report.versions]
        [line] = axes.plot(numbers, losses, marker="o", label=domain.domain)
        axes.axhline(domain.base, color=line.get_color(), linestyle=":", linewidth=1, alpha=0.6)
    axes.set_title(f"{report.federation}: held-out loss of the served adapter (dotted: base model)")
    axes.set_xlabel("global version")
    axes.set_ylabel("held-out loss (nats per token)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(title="domain", loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the curves, never over them


def _staleness(report: Report, axes: Any) -> None:
    counts = report.staleness.counts
    values = list(range(max(counts, default=0) + 1))
    bars = axes.bar(values, [counts.get(value, 0) for value in values], width=0.8)
    axes.bar_label(bars)
    axes.set_title(f"{report.federation}: staleness of merged deltas (mean {report.staleness.mean:.2f})")
    axes.set_xlabel("staleness (global versions)")
    axes.set_ylabel("merged deltas (count)")
    axes.set_xticks(values if len(values) <= 20 else values[:: -(-len(values) // 20)])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(y=0.12)


def _weight_per_agent(report: Report, axes: Any) -> None:
    names = [f"{share.agent_id}\n{share.domain}, slowdown {share.slowdown:g}x" for share in report.agents]
    total = sum(share.merged for share in report.agents) or 1
    positions = range(len(names))
    width = 0.4
    merged = axes.bar([p - width / 2 for p in positions], [100 * s.merged / total for s in report.agents], width)
    weight = axes.bar([p + width / 2 for p in positions], [100 * s.weight_share for s in report.agents], width)
    axes.bar_label(merged, labels=[str(share.merged) for share in report.agents])
    axes.bar_label(weight, fmt="%.0f %%")
    axes.axhline(100 / len(names), color="grey", linestyle=":", label="even share")
    axes.set_title(f"{report.federation}: share of merged deltas and of aggregation weight per agent")
    axes.set_ylabel("share (%)")
    axes.set_xticks(list(positions), names)
    handles = [merged, weight, axes.lines[0]]
    axes.legend(handles, ["merged deltas (bar label: count)", "aggregation weight", "even share"])
    axes.margins(y=0.12)
