"""Tables, facts and JSON: what an operator reads and what a script parses."""

from __future__ import annotations

import json
import time

import pytest

from coordinator.cli.tables import ago, aligned, as_json, facts
from coordinator.domain import Contribution, DeltaState, VersionId


def test_numbers_are_aligned_right_and_text_left() -> None:
    table = aligned(["name", "merged"], [["a", 5], ["longer", 12]])
    assert table.splitlines() == ["name    merged", "a            5", "longer      12"]


def test_what_is_missing_shows_as_a_dash_and_truth_as_a_word() -> None:
    assert aligned(["loss", "revoked"], [[None, True], [2.5, False]]).splitlines()[1:] == ["     -  yes", "2.5000  no"]


def test_a_table_without_rows_is_its_header() -> None:
    assert aligned(["a", "b"], []) == "a  b"


def test_facts_line_up() -> None:
    assert facts([("a", 1), ("longer", "x")]) == "a       1\nlonger  x"


def test_json_holds_values_of_every_kind() -> None:
    value = [{"id": VersionId(epoch=1, number=2, digest="ab"), "state": DeltaState.QUEUED}, (Contribution(),)]
    assert json.loads(as_json(value)) == [
        {"id": {"epoch": 1, "number": 2, "digest": "ab"}, "state": "queued"},
        [{"merged": 0, "weight": 0.0, "rejected": 0}],
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (300, "5 min"), (7_300, "2 h"), (86_400 * 3, "3 d"), (-5, "0 s")],
)
def test_ages_are_in_the_largest_unit_that_tells_something(seconds: float, text: str) -> None:
    assert ago(time.time() - seconds) == f"{text} ago"
