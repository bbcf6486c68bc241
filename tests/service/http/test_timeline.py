"""Lanes of the timeline: the head's line stays straight, what rollbacks abandon never overlaps."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from coordinator.domain import VersionId, VersionKind
from coordinator.service.http.history import VersionBrief
from coordinator.service.http.timeline import lanes


def history(targets: list[int | None]) -> list[VersionBrief]:
    """Return versions 0 to n: entry i of `targets` is the version that i + 1 goes back to, None for a merge."""
    parents: list[int | None] = [None]
    gone: set[int] = set()
    for number, target in enumerate(targets, start=1):
        if target is not None and target in gone:
            target = None
        parents.append(number - 1 if target is None else target)
        if target is not None:
            gone |= set(range(target + 1, number))
    return [
        VersionBrief(
            id=VersionId(epoch=1, number=number, digest="d"),
            kind=VersionKind.MERGE,
            parent=parent,
            created_at=float(number),
            abandoned=number in gone,
            recipe="mean",
            loss_before=None,
            loss=None,
            loss_served=None,
            parts=(),
        )
        for number, parent in enumerate(parents)
    ]


def test_one_line_without_rollbacks() -> None:
    assert set(lanes(history([None] * 9)).values()) == {0}


def test_a_rollback_over_a_rollback_takes_a_second_lane() -> None:
    # 1 2 3 4 5, 6 back to 3, 7 8, 9 back to 2: 4 and 5 branched off 3, which is abandoned itself
    found = lanes(history([None, None, None, None, None, 3, None, None, 2]))
    assert [found[number] for number in (0, 1, 2, 9)] == [0, 0, 0, 0]
    assert found[4] == found[5]
    assert found[6] == found[7] == found[8]
    assert found[3] != found[4] or found[3] != found[6]
    assert found[4] != found[6]


@st.composite
def pasts(draw: st.DrawFn) -> list[int | None]:
    length = draw(st.integers(1, 25))
    return [draw(st.none() | st.integers(0, number)) for number in range(length)]


@given(pasts(), st.integers(0, 10))
def test_no_two_branches_are_drawn_over_each_other(targets: list[int | None], first: int) -> None:
    versions = [version for version in history(targets) if version.id.number >= first]
    found = lanes(versions)
    assert found.keys() == {version.id.number for version in versions}
    for version in versions:
        assert (found[version.id.number] == 0) == (not version.abandoned)
    spans: dict[tuple[int, int], set[int]] = {}
    start = {version.id.number: version for version in versions}
    for version in versions:
        if version.abandoned:
            begin = version
            while (
                begin.parent in start
                and start[begin.parent].abandoned
                and found[begin.parent] == found[version.id.number]
            ):
                begin = start[begin.parent]
            spans.setdefault((found[version.id.number], begin.id.number), set()).add(version.id.number)
    by_lane: dict[int, list[set[int]]] = {}
    for (lane, _), numbers in spans.items():
        by_lane.setdefault(lane, []).append(numbers)
    for runs in by_lane.values():
        ordered = sorted(runs, key=min)
        for left, right in itertools.pairwise(ordered):
            assert max(left) < min(right), "two branches share a lane at the same time"
