"""A federation's history as a tree of text: newest first, branches that were rolled back beside the line of the head.

A rollback abandons every version between itself and the version that it restores. Such stretches lie inside each other
or apart, never across, so one pass from the head down draws them: a rollback opens a lane to the right, the version
that it restores closes it.

    * 5  rollback to 1
    | o 4  merge
    | o 3  merge
    | o 2  merge
    |/
    * 1  merge
    * 0  initial
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator

from coordinator.cli.operator_views import VersionView
from coordinator.cli.tables import ago
from coordinator.domain import VersionKind

MAX_LANES = 8
"""Deeper branches are drawn in the last lane: the lines must fit into 80 columns."""

RUN_SHOWN = 3
"""Versions shown at each end of a straight run."""

_GRAPH_COLUMNS = 2 * MAX_LANES + 7
"""Lanes, dot, blank and a number of five digits."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What a tree is drawn with."""

    current: str
    abandoned: str
    lane: str
    join: str
    more: str


UNICODE = Glyphs(current="●", abandoned="○", lane="│", join="├─╯", more="⋮")
ASCII = Glyphs(current="*", abandoned="o", lane="|", join="|/", more=":")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the best glyphs that an output with this encoding can show."""
    try:
        "".join(dataclasses.astuple(UNICODE)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UNICODE


def tree_lines(versions: Iterable[VersionView], glyphs: Glyphs, *, whole: bool) -> Iterator[str]:
    """Yield the lines of a tree, at most 80 columns wide, holding only a few versions at a time.

    Args:
        versions: Newest first, without gaps, from the head on.
        glyphs: What to draw with.
        whole: Show every version; otherwise the middle of a long straight run is one line.
    """
    lanes: list[int] = []
    run = _Run(shown=0 if whole else RUN_SHOWN)
    last = None
    for version in versions:
        last = version
        joins = bool(lanes) and lanes[-1] == version.id.number
        if joins or version.kind is not VersionKind.MERGE:
            yield from run.end(glyphs, len(lanes))
        while lanes and lanes[-1] == version.id.number:
            lanes.pop()
            yield _prefix(glyphs, len(lanes)) + glyphs.join
        if version.kind is VersionKind.MERGE:
            yield from run.add(version, glyphs, len(lanes))
            continue
        yield _line(version, glyphs, len(lanes))
        if version.kind is VersionKind.ROLLBACK and version.parent is not None:
            lanes.append(version.parent)
    yield from run.end(glyphs, len(lanes))
    if last is not None and last.id.number > 0:
        yield f"{_prefix(glyphs, len(lanes))}{glyphs.more} {last.id.number} older versions"


class _Run:
    """Versions that follow each other in one lane: the first `shown` and the last are drawn, those between counted.

    Args:
        shown: How many at each end; 0 to draw them all.
    """

    def __init__(self, *, shown: int) -> None:
        self._shown = shown
        self._drawn = 0
        self._skipped = self._skipped_deltas = 0
        self._recent: deque[VersionView] = deque()

    def add(self, version: VersionView, glyphs: Glyphs, depth: int) -> Iterator[str]:
        """Take the next version, and yield its line if it is one of the first."""
        if not self._shown or self._drawn < self._shown:
            self._drawn += 1
            yield _line(version, glyphs, depth)
            return
        self._recent.append(version)
        if len(self._recent) > self._shown:
            self._skipped += 1
            self._skipped_deltas += self._recent.popleft().deltas

    def end(self, glyphs: Glyphs, depth: int) -> Iterator[str]:
        """Yield what is left, and begin again."""
        if self._skipped:
            counted = f"{self._skipped} merges, {self._skipped_deltas} deltas (--all shows them)"
            yield f"{_prefix(glyphs, depth)}{glyphs.more} {counted}"
        for version in self._recent:
            yield _line(version, glyphs, depth)
        self._recent.clear()
        self._drawn = self._skipped = self._skipped_deltas = 0


def _line(version: VersionView, glyphs: Glyphs, depth: int) -> str:
    """Return one version's line."""
    dot = glyphs.abandoned if version.abandoned else glyphs.current
    kind = f"rollback to {version.parent}" if version.kind is VersionKind.ROLLBACK else str(version.kind)
    deltas = f"{version.deltas} deltas" if version.deltas != 1 else "1 delta"
    shown = [
        f"{_prefix(glyphs, depth)}{dot} {version.id.number}".ljust(_GRAPH_COLUMNS),
        kind.ljust(18),
        (deltas if version.kind is VersionKind.MERGE else "").rjust(12),
        (f"loss {version.calibration_loss:.4f}" if version.calibration_loss is not None else "").rjust(12),
        ago(version.created_at).rjust(11),
    ]
    return " ".join(shown).rstrip()


def _prefix(glyphs: Glyphs, depth: int) -> str:
    return f"{glyphs.lane} " * min(depth, MAX_LANES)
