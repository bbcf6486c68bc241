"""One frame of `alignfed top` as lines of text: pure, so that what fits a terminal is decided in one place."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
import time
from collections.abc import Sequence

from coordinator.cli.operator_views import AgentView, VersionView
from coordinator.cli.tables import aligned
from coordinator.cli.top.figures import (
    Fairness,
    fairness,
    merges_per_minute,
    staleness_counts,
    weight_shares,
)
from coordinator.cli.top.snapshot import Snapshot, Summary

LEAST_WIDTH = 60
SIDE_BY_SIDE_WIDTH = 150
"""From here on the fleet stands beside the versions."""

PLAIN_AGENTS, PLAIN_VERSIONS = 20, 10
"""Rows of a frame without a height."""

_ENOUGH_ROWS = 1000
_BAR = 24


class Order(enum.StrEnum):
    """What the fleet is sorted by."""

    WEIGHT = "weight share"
    SEEN = "last seen"
    REJECTED = "rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of text; `style` is empty, or `title`, `good`, `warn` or `bad`."""

    text: str
    style: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """How a frame is drawn.

    Attributes:
        address: Who was asked.
        width, height: Cells; a height of 0 for as many lines as there is to say.
        order: What the fleet is sorted by.
        now: Unix seconds.
        lost_at: Since when the coordinator does not answer; None while it does.
        trouble: What happened then.
        keys: Whether keys are read.
    """

    address: str
    width: int
    height: int = 0
    order: Order = Order.WEIGHT
    now: float
    lost_at: float | None = None
    trouble: str = ""
    keys: bool = False


def frame(snapshot: Snapshot, screen: Screen) -> list[Line]:
    """Return the lines of a frame: at most `height` of them, none longer than `width`."""
    lines = [_title(snapshot, screen), *_lost(screen)]
    summary = snapshot.in_view
    if summary is None:
        lines.append(Line(text="no federations yet: create one with `alignfed federations create PLAN.toml`"))
        return _cut(lines, screen)
    if len(snapshot.summaries) > 1:
        lines += _federations(snapshot, screen)
    lines += _state(summary, screen)
    lines += _evenness(fairness(snapshot.agents, now=screen.now), len(snapshot.agents))
    lines += _staleness(snapshot.staleness, screen)
    room = max(4, screen.height - len(lines)) if screen.height else _ENOUGH_ROWS
    lines += _tables(snapshot, summary, screen, room)
    return _cut(lines, screen)


def _title(snapshot: Snapshot, screen: Screen) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(snapshot.at))
    left = f"alignfed top  {screen.address}"
    keys = "  q quits  s sorts" + ("  n next federation" if len(snapshot.summaries) > 1 else "")
    right = clock + (keys if screen.keys else "")
    return Line(text=left + right.rjust(max(len(right) + 2, screen.width - len(left))), style="title")


def _lost(screen: Screen) -> list[Line]:
    if screen.lost_at is None:
        return []
    since = time.strftime("%H:%M:%S", time.localtime(screen.lost_at))
    words = f"lost connection since {since} ({_span(screen.now - screen.lost_at)}), trying again; shown as last seen. "
    wrapped = textwrap.wrap(words + screen.trouble, screen.width)[:3]
    return [Line(text=text, style="bad") for text in wrapped]


def _federations(snapshot: Snapshot, screen: Screen) -> list[Line]:
    header = ["", "federation", "version", "age", "merges/min", "queue", "oldest", "dead", "merging"]
    rows = [[">" if it.view.plan.federation == snapshot.chosen else "", *_row(it, screen.now)]
            for it in snapshot.summaries]  # fmt: skip
    first, *rest = aligned(header, rows).splitlines()
    lines = [Line(text=first, style="title"), *(Line(text=text) for text in rest)]
    if snapshot.more:
        lines.append(Line(text=f"and {snapshot.more} more: name those to look at"))
    return lines


def _row(summary: Summary, now: float) -> list[object]:
    view = summary.view
    return [
        view.plan.federation,
        view.head.id.number,
        _age(_published_at(summary), now),
        f"{_rate(summary, now):.1f}",
        view.queued,
        _age(view.oldest_queued_at, now),
        view.dead,
        "paused" if view.head.paused else "yes",
    ]


def _state(summary: Summary, screen: Screen) -> list[Line]:
    view, now = summary.view, screen.now
    merging = "PAUSED" if view.head.paused else "merging"
    plan = view.plan
    head = (
        f"{plan.federation}  version {view.head.id.number}, {_age(_published_at(summary), now)} old, {merging}, "
        f"{_rate(summary, now):.1f} merges/min"
    )
    queue = f"queue {view.queued} of {plan.limits.max_queue_deltas} ({view.pending} claimed)"
    oldest = f"oldest {_age(view.oldest_queued_at, now)}"
    dead = f"dead letters {view.dead}" + (f": `alignfed dead-letters list {plan.federation}`" if view.dead else "")
    late = view.oldest_queued_at is not None and now - view.oldest_queued_at > 2 * plan.buffer.timeout_seconds
    return [
        Line(text=head, style="warn" if view.head.paused else "good"),
        Line(text=f"{queue}, {oldest}", style="warn" if late else ""),
        Line(text=dead, style="bad" if view.dead else ""),
    ]


def _evenness(found: Fairness, registered: int) -> list[Line]:
    who = f"agents {registered}, {found.active} active in a day, {found.unserved} of them not merged yet"
    shared = (
        f"fairness  merges Jain {found.merges_jain:.2f} Gini {found.merges_gini:.2f}   "
        f"weight Jain {found.weight_jain:.2f} Gini {found.weight_gini:.2f}"
    )
    return [Line(text=who, style="warn" if found.unserved else ""), Line(text=shared)]


def _staleness(staleness: Sequence[int], screen: Screen) -> list[Line]:
    if not staleness:
        return [Line(text="staleness  no merges yet")]
    counts = staleness_counts(staleness)
    title = f"staleness of the last {len(staleness)} merged deltas, in versions"
    tall = screen.height == 0 or screen.height >= 32
    if not tall:
        return [Line(text="staleness  " + "   ".join(f"{name}: {count}" for name, count in counts))]
    most = max(count for _, count in counts)
    return [
        Line(text=title, style="title"),
        *(Line(text=f"{name.rjust(5)} {'#' * round(_BAR * count / most)} {count}") for name, count in counts),
    ]


def _tables(snapshot: Snapshot, summary: Summary, screen: Screen, room: int) -> list[Line]:
    if screen.width >= SIDE_BY_SIDE_WIDTH:
        rows = room - 1
        left = _fleet(snapshot, screen, rows)
        right = _versions(summary, screen, rows if screen.height else 20)
        return _beside(left, right)
    if screen.height:
        for_tables = room - 3  # two headers and a blank line between
        versions = min(len(summary.versions), max(2, for_tables // 3, for_tables - len(snapshot.agents)))
        agents = for_tables - versions
    else:
        versions, agents = PLAIN_VERSIONS, PLAIN_AGENTS
    return [*_fleet(snapshot, screen, max(2, agents)), Line(text=""), *_versions(summary, screen, versions)]


def _fleet(snapshot: Snapshot, screen: Screen, room: int) -> list[Line]:
    shares = weight_shares(snapshot.agents)
    ordered = sorted(snapshot.agents, key=lambda view: _key(view, screen.order))
    shown = ordered if len(ordered) <= room else ordered[: max(1, room - 1)]
    rows = [
        [
            view.agent.agent_id,
            view.agent.tier or "-",
            _age(view.agent.last_seen_at, screen.now),
            view.contribution.merged,
            f"{100 * shares[view.agent.agent_id]:.1f} %",
            view.contribution.rejected,
            "revoked" if view.agent.revoked else "",
        ]
        for view in shown
    ]
    first, *rest = aligned(["agent", "tier", "seen", "merged", "weight", "rejected", ""], rows).splitlines()
    lines = [Line(text=first, style="title"), *(Line(text=text) for text in rest)]
    if len(shown) < len(ordered):
        lines.append(Line(text=f"... {len(ordered) - len(shown)} more of {len(ordered)} agents, by {screen.order}"))
    return lines


def _key(view: AgentView, order: Order) -> tuple[float, str]:
    figure = {
        Order.WEIGHT: view.contribution.weight,
        Order.SEEN: view.agent.last_seen_at,
        Order.REJECTED: float(view.contribution.rejected),
    }[order]
    return (-figure, view.agent.agent_id)


def _versions(summary: Summary, screen: Screen, rows: int) -> list[Line]:
    shown = summary.versions[:rows]
    table = aligned(
        ["version", "kind", "published", "deltas", "loss", "change", ""],
        [
            [
                version.id.number,
                str(version.kind),
                f"{_age(version.created_at, screen.now)} ago",
                version.deltas or None,
                None if version.calibration_loss is None else f"{version.calibration_loss:.4f}",
                _change(version, summary.versions),
                "abandoned" if version.abandoned else "",
            ]
            for version in shown
        ],
    )
    first, *rest = table.splitlines()
    return [Line(text=first, style="title"), *(Line(text=text) for text in rest)]


def _change(version: VersionView, versions: Sequence[VersionView]) -> str:
    """Return how the calibration loss differs from the parent's, where both are known."""
    parent = next((it for it in versions if it.id.number == version.parent), None)
    if parent is None or parent.calibration_loss is None or version.calibration_loss is None:
        return "-"
    return f"{version.calibration_loss - parent.calibration_loss:+.4f}"


def _beside(left: list[Line], right: list[Line]) -> list[Line]:
    width = max(len(line.text) for line in left) + 4
    lines = []
    for index in range(max(len(left), len(right))):
        a = left[index].text if index < len(left) else ""
        b = right[index].text if index < len(right) else ""
        lines.append(Line(text=a.ljust(width) + b, style="title" if index == 0 else ""))
    return lines


def _published_at(summary: Summary) -> float | None:
    return summary.versions[0].created_at if summary.versions else None


def _rate(summary: Summary, now: float) -> float:
    return merges_per_minute(summary.versions, created_at=summary.view.created_at, now=now)


def _age(at: float | None, now: float) -> str:
    return "-" if at is None else _span(now - at)


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _cut(lines: list[Line], screen: Screen) -> list[Line]:
    width = max(screen.width, 1)
    kept = lines[: screen.height] if screen.height else lines
    return [line if len(line.text) <= width else Line(text=line.text[: width - 1] + ">", style=line.style)
            for line in kept]  # fmt: skip
