"""Shows a run's progress: a live table in a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coordinator.local.watch import AgentState, Snapshot

PLAIN_SECONDS = 30.0
"""How often plain progress says something when no version is published."""


class Progress(Protocol):
    """What shows progress. Use it as a context manager."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the newest state."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Pace:
    """Estimates how long the versions that are missing will take, from those published since the start.

    Args:
        first: Number of the head at the start.
        target: Number to reach.
    """

    def __init__(self, first: int, target: int) -> None:
        self.target = target
        self._first = first
        self._began = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self._began

    def left_seconds(self, version: int) -> float | None:
        """Return the estimate, None before the first version is published."""
        done = version - self._first
        return self.elapsed_seconds / done * max(0, self.target - version) if done > 0 else None


def progress_for(pace: Pace) -> Progress:
    """Return a live display when stdout is a terminal, plain lines otherwise."""
    return LiveProgress(pace) if sys.stdout.isatty() else PlainProgress(pace)


class LiveProgress:
    """Redraws one table in place.

    Args:
        pace: Of the run.
        console: Where to draw; the terminal unless given.
    """

    def __init__(self, pace: Pace, console: Console | None = None) -> None:
        self._pace = pace
        self._live = Live(console=console or Console(), refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(Group(Text(headline(snapshot, self._pace)), agent_table(snapshot)))


class PlainProgress:
    """Prints a line per version, and one now and then in between."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._shown: int | None = None
        self._said_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, snapshot: Snapshot) -> None:
        """Print a line if there is something to say."""
        now = time.monotonic()
        published = snapshot.version != self._shown
        if not published and now - self._said_at < PLAIN_SECONDS:
            return
        self._shown, self._said_at = snapshot.version, now
        print(headline(snapshot, self._pace), flush=True)
        if not published:
            print("  " + "; ".join(agent_line(agent) for agent in snapshot.agents), flush=True)


def headline(snapshot: Snapshot, pace: Pace) -> str:
    """Return the state of the federation in one line."""
    parts = [f"version {snapshot.version}/{pace.target}"]
    merge = snapshot.newest.merge
    if merge is not None:
        staleness = ", ".join(str(delta.staleness_versions) for delta in merge.deltas)
        parts.append(f"staleness of the last merge {staleness}")
    if snapshot.losses:
        first, last = next(iter(snapshot.losses.values())), snapshot.losses.get(snapshot.version)
        if last is not None:
            parts.append(f"calibration loss {last:.3f} ({last - first:+.3f})")
    parts.append(f"queue {snapshot.queued}")
    left = pace.left_seconds(snapshot.version)
    parts.append(f"{clock(pace.elapsed_seconds)} elapsed, {'?' if left is None else clock(left)} left")
    return " | ".join(parts)


def agent_table(snapshot: Snapshot) -> Table:
    """Return the agents as a table."""
    table = Table(pad_edge=False)
    for name in ("agent", "domain", "slowdown", "state", "base", "step", "loss", "merged", "weight"):
        table.add_column(name, justify="left" if name in ("agent", "domain", "state") else "right")
    for agent in snapshot.agents:
        table.add_row(
            agent.agent_id,
            agent.domain,
            f"{agent.slowdown:g}x",
            agent.activity,
            "-" if agent.base_version is None else str(agent.base_version),
            f"{agent.step}/{agent.steps}",
            "-" if agent.loss is None else f"{agent.loss:.3f}",
            str(agent.merged),
            f"{agent.weight_share:.0%}",
        )
    return table


def agent_line(agent: AgentState) -> str:
    """Return one agent's state in a few words."""
    base = "-" if agent.base_version is None else agent.base_version
    return (
        f"{agent.agent_id} {agent.activity} {agent.step}/{agent.steps} on {base}, {agent.merged} merged, "
        f"{agent.weight_share:.0%} of the weight"
    )


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds: `1:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
