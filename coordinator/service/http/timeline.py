"""Where versions are drawn: what the head came from in lane 0, what rollbacks left behind in lanes below. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.service.http.history import VersionBrief


def lanes(versions: Sequence[VersionBrief]) -> dict[int, int]:
    """Return the lane of every version.

    Args:
        versions: Any run of consecutive versions, in any order.

    Returns:
        By number: 0 for versions that are not abandoned; abandoned ones that follow each other share a lane, and two
        such runs share one only when they do not overlap (the version a run branches off from counts as part of it).
    """
    ordered = sorted(versions, key=lambda version: version.id.number)
    lane_of = {version.id.number: 0 for version in ordered if not version.abandoned}
    taken_until: list[int] = []  # by lane - 1: the last number drawn in it
    for run in _runs(ordered):
        first, last = run[0], run[-1].id.number
        start = first.parent if first.parent is not None else first.id.number
        free = next((lane for lane, until in enumerate(taken_until) if until < start), None)
        if free is None:
            free = len(taken_until)
            taken_until.append(last)
        taken_until[free] = last
        lane_of.update({version.id.number: free + 1 for version in run})
    return lane_of


def _runs(ordered: Sequence[VersionBrief]) -> list[list[VersionBrief]]:
    """Split the abandoned versions into runs in which each was made from the one before it; first by first number."""
    runs: list[list[VersionBrief]] = []
    ending_in: dict[int, list[VersionBrief]] = {}
    for version in ordered:
        if not version.abandoned:
            continue
        run = ending_in.pop(version.parent, None) if version.parent is not None else None
        if run is None:
            run = []
            runs.append(run)
        run.append(version)
        ending_in[version.id.number] = run
    return runs
