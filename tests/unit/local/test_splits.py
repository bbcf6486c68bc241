"""Training, held-out and calibration data never share anything, and no part is empty."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignfed.errors import DataUnusable
from coordinator.local.splits import MIN_FILES, MIN_ROWS, SourceFile, deal, split_files, split_rows, spread

ROWS = st.lists(st.fixed_dictionaries({"text": st.text(max_size=5)}), min_size=MIN_ROWS, max_size=60)
FILES = st.lists(st.integers(min_value=1, max_value=200_000), min_size=MIN_FILES, max_size=40).map(
    lambda sizes: [SourceFile(name=f"{index}.py", nbytes=size) for index, size in enumerate(sizes)]
)


def texts(rows: object) -> list[str]:
    return [json.dumps(row, sort_keys=True) for row in rows]  # type: ignore[attr-defined]


@given(ROWS)
def test_rows_are_in_exactly_one_part(rows: list[dict[str, str]]) -> None:
    distinct = set(texts(rows))
    if len(distinct) < MIN_ROWS:
        with pytest.raises(DataUnusable, match=str(len(distinct))):
            split_rows(rows, domain="d")
        return
    parts = split_rows(rows, domain="d")
    shared_out = texts(parts.train) + texts(parts.held_out) + texts(parts.calibration)
    assert len(shared_out) == len(set(shared_out)), "a row is in two parts"
    assert set(shared_out) == distinct
    assert parts.train
    assert len(parts.held_out) >= 2
    assert len(parts.calibration) >= 2


@given(FILES)
def test_files_are_in_exactly_one_part_and_most_of_the_text_trains(files: list[SourceFile]) -> None:
    parts = split_files(files, domain="d")
    names = [file.name for part in (parts.train, parts.held_out, parts.calibration) for file in part]
    assert sorted(names) == sorted(file.name for file in files)
    assert parts.train
    assert parts.held_out
    assert parts.calibration
    assert max(files, key=lambda file: file.nbytes).nbytes == max(file.nbytes for file in parts.train)


def test_neither_the_order_of_rows_nor_of_files_matters() -> None:
    rows = [{"text": str(number)} for number in range(50)]
    files = [SourceFile(name=f"{number}.py", nbytes=1_000 + number) for number in range(30)]
    mixed_rows, mixed_files = rows.copy(), files.copy()
    random.Random(1).shuffle(mixed_rows)
    random.Random(1).shuffle(mixed_files)
    assert split_rows(mixed_rows, domain="d") == split_rows(rows, domain="d")
    assert split_files(mixed_files, domain="d") == split_files(files, domain="d")


def test_a_package_of_usual_size_keeps_most_of_its_text_for_training() -> None:
    files = [SourceFile(name=f"{number}.py", nbytes=3_000 + 500 * number) for number in range(30)]
    parts = split_files(files, domain="d")
    total = sum(file.nbytes for file in files)
    assert 0.10 < sum(file.nbytes for file in parts.held_out) / total < 0.35
    assert 0.05 < sum(file.nbytes for file in parts.calibration) / total < 0.25


def test_next_to_empty_files_are_neither_held_out_nor_used_to_calibrate() -> None:
    files = [SourceFile(name=f"{number}.py", nbytes=5_000) for number in range(20)]
    files += [SourceFile(name=f"{number}/__init__.py", nbytes=40) for number in range(20)]
    parts = split_files(files, domain="d")
    assert min(file.nbytes for file in parts.held_out + parts.calibration) == 5_000


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_domain_of_too_few_files_is_refused(count: int) -> None:
    files = [SourceFile(name=f"{number}.py", nbytes=10) for number in range(count)]
    files.append(SourceFile(name="empty.py", nbytes=0))
    with pytest.raises(DataUnusable, match=f"{count} text files"):
        split_files(files, domain="d")


def test_agents_of_one_domain_share_nothing() -> None:
    hands = deal(list(range(10)), 3)
    assert sorted(item for hand in hands for item in hand) == list(range(10))
    assert {len(hand) for hand in hands} == {3, 4}


def test_rows_are_taken_evenly_from_the_whole() -> None:
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread([1, 2], 4) == [1, 2]
