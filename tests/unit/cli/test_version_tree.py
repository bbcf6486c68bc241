"""The tree of versions: branches where rollbacks were, in 80 columns, on terminals that know ASCII only."""

from __future__ import annotations

import random

import pytest

from coordinator.cli.operator_views import VersionView
from coordinator.cli.version_tree import ASCII, UNICODE, glyphs_for, tree_lines
from coordinator.domain import VersionId, VersionKind

DAYS = 86_400.0


def history(*rollbacks_to: int | None) -> list[VersionView]:
    """Return a history, newest first: version 0, then a merge for each None and a rollback for each number."""
    versions = [view(0, VersionKind.INITIAL, None)]
    for number, target in enumerate(rollbacks_to, start=1):
        if target is None:
            versions.append(view(number, VersionKind.MERGE, number - 1))
            continue
        left = [view(v.id.number, v.kind, v.parent, abandoned=True) for v in versions[target + 1 :]]
        versions[target + 1 :] = left
        versions.append(view(number, VersionKind.ROLLBACK, target))
    return versions[::-1]


def view(number: int, kind: VersionKind, parent: int | None, *, abandoned: bool = False) -> VersionView:
    merged = kind is VersionKind.MERGE
    return VersionView(
        id=VersionId(epoch=1, number=number, digest="ab" * 32),
        kind=kind,
        parent=parent,
        created_at=1_700_000_000.0,
        abandoned=abandoned,
        serves_average=False,
        deltas=2 if merged else 0,
        calibration_loss=2.5 if merged else None,
    )


def graph(versions: list[VersionView], *, whole: bool = False) -> list[str]:
    """Return the lines up to the number."""
    return [line[:23].rstrip() for line in tree_lines(versions, ASCII, whole=whole)]


def test_a_rolled_back_branch_stands_beside_the_line_of_the_head() -> None:
    assert graph(history(None, None, None, 1, None)) == [
        "* 5",
        "* 4",
        "| o 3",
        "| o 2",
        "|/",
        "* 1",
        "* 0",
    ]


def test_branches_of_branches_nest() -> None:
    # 0-3, back to 2 (4), 5, back to 1 (6), and back to 1 once more after 7 (8)
    assert graph(history(None, None, None, 2, None, 1, None, 1)) == [
        "* 8",
        "| o 7",
        "| o 6",
        "| | o 5",
        "| | o 4",
        "| | | o 3",
        "| | |/",
        "| | o 2",
        "| |/",
        "|/",
        "* 1",
        "* 0",
    ]


def test_a_line_tells_kind_deltas_loss_and_age() -> None:
    head, merge, *_ = list(tree_lines(history(None, 0), UNICODE, whole=False))
    assert head.split()[:5] == ["●", "2", "rollback", "to", "0"]
    assert merge.split()[:7] == ["│", "○", "1", "merge", "2", "deltas", "loss"]
    assert merge.endswith(" d ago")


def test_long_runs_are_one_line_unless_all_is_wanted() -> None:
    versions = history(*[None] * 20)
    assert graph(versions)[3] == ": 14 merges, 28 deltas"
    assert len(graph(versions)) == 3 + 1 + 3 + 1
    assert len(graph(versions, whole=True)) == 21
    assert len(graph(history(*[None] * 6))) == 7


def test_a_history_that_is_cut_off_says_so() -> None:
    assert graph(history(None, None, None, 1, None)[:3])[-1] == "| : 3 older versions"


@pytest.mark.parametrize("seed", range(20))
def test_any_history_is_drawn_once_within_80_columns(seed: int) -> None:
    generator = random.Random(seed)
    alive, steps = [0], []
    for number in range(1, 150):
        target = generator.choice(alive) if generator.random() < 0.2 else None
        steps.append(target)
        alive = [*(v for v in alive if target is None or v <= target), number]
    versions = history(*steps)
    lines = list(tree_lines(versions, ASCII, whole=True))
    assert max(map(len, lines)) <= 80
    dots = [next(word for word in line.split() if word in "*o") for line in lines if "/" not in line]
    assert dots == ["o" if version.abandoned else "*" for version in versions]
    drawn = [int(line[:23].split()[-1]) for line in lines if "/" not in line]
    assert drawn == [version.id.number for version in versions]
    restored = [version for version in versions if version.kind is VersionKind.ROLLBACK]
    assert sum("/" in line for line in lines) == len(restored)


def test_an_output_that_cannot_show_more_gets_ascii() -> None:
    assert glyphs_for("utf-8") == UNICODE
    for encoding in ("ascii", "latin-1", "no-such-encoding", None):
        assert glyphs_for(encoding) == ASCII
