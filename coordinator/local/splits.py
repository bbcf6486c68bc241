"""Which part of a domain trains, which part is held out, and which part the server may see. Pure and deterministic.

The three parts are disjoint: rows by content, files by name. The order of a hash of the content or name decides:
neither the order of rows in a file nor of files in a folder matters, and runs on the same data can be compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from alignfed.errors import DataUnusable

T = TypeVar("T")

MIN_ROWS = 10
"""Distinct rows below which a domain cannot be split into three parts that mean anything."""
MIN_FILES = 3
"""One file for each part."""
HELD_OUT_RATIO = 0.15
CALIBRATION_RATIO = 0.08
MAX_HELD_OUT_ROWS = 400
MAX_CALIBRATION_ROWS = 100
LARGEST_PART_RATIO = 0.3
"""A file with a larger share of its domain's bytes than this always trains: held out, it would leave too little."""
MIN_PART_BYTES = 1_000
"""A shorter file always trains if it can: it would make a held-out or calibration part of next to nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split(Generic[T]):
    """The three disjoint parts of a domain; none is empty."""

    train: tuple[T, ...]
    held_out: tuple[T, ...]
    calibration: tuple[T, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A text file of a domain, by its name within the domain and its length."""

    name: str
    nbytes: int


def split_rows(rows: Sequence[Mapping[str, Any]], *, domain: str) -> Split[Mapping[str, Any]]:
    """Split the rows of a domain; repeated rows count once.

    Args:
        rows: Parsed JSON objects.
        domain: Name for messages.

    Raises:
        DataUnusable: There are fewer than `MIN_ROWS` distinct rows.
    """
    distinct = {_hash(json.dumps(row, sort_keys=True)): row for row in rows}
    if len(distinct) < MIN_ROWS:
        raise DataUnusable(
            f"{domain} holds {len(distinct)} distinct rows; at least {MIN_ROWS} are needed to hold some out and to "
            "calibrate on others: add rows or leave the file out"
        )
    ordered = [distinct[key] for key in sorted(distinct)]
    held_out = _count(len(ordered), HELD_OUT_RATIO, MAX_HELD_OUT_ROWS)
    calibration = held_out + _count(len(ordered), CALIBRATION_RATIO, MAX_CALIBRATION_ROWS)
    return Split(
        train=tuple(ordered[calibration:]),
        held_out=tuple(ordered[:held_out]),
        calibration=tuple(ordered[held_out:calibration]),
    )


def split_files(files: Sequence[SourceFile], *, domain: str) -> Split[SourceFile]:
    """Split the files of a domain by bytes, whole files at a time.

    Args:
        files: Distinct names.
        domain: Name for messages.

    Raises:
        DataUnusable: There are fewer than `MIN_FILES` files that are not empty.
    """
    ordered = sorted((file for file in files if file.nbytes), key=lambda file: _hash(file.name))
    if len(ordered) < MIN_FILES:
        raise DataUnusable(
            f"{domain} holds {len(ordered)} text files; at least {MIN_FILES} are needed, one to train on, one to hold "
            "out and one to calibrate on: add files or give one JSON Lines file instead"
        )
    total = sum(file.nbytes for file in ordered)
    largest = max(ordered, key=lambda file: file.nbytes)
    bounds = range(MIN_PART_BYTES, int(LARGEST_PART_RATIO * total) + 1)
    pool = [file for file in ordered if file is not largest and file.nbytes in bounds]
    if len(pool) < MIN_FILES - 1:  # few files, or all of one size: any but the largest will do
        pool = [file for file in ordered if file is not largest]
    held_out = _take(pool, HELD_OUT_RATIO * total, spare=1)
    calibration = _take([file for file in pool if file not in held_out], CALIBRATION_RATIO * total, spare=0)
    return Split(
        train=tuple(file for file in ordered if file not in held_out and file not in calibration),
        held_out=tuple(held_out),
        calibration=tuple(calibration),
    )


def deal(items: Sequence[T], hands: int) -> list[list[T]]:
    """Deal `items` to `hands` agents of one domain in turn: disjoint, sizes differ by at most one."""
    return [list(items[hand::hands]) for hand in range(hands)]


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items, evenly spaced over all of them and in order."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def _count(rows: int, ratio: float, most: int) -> int:
    return min(most, max(2, round(rows * ratio)))


def _take(pool: Sequence[SourceFile], wanted_bytes: float, *, spare: int) -> list[SourceFile]:
    """Take files in order until `wanted_bytes` are reached, at least one, leaving `spare` of them."""
    taken: list[SourceFile] = []
    for file in pool[: len(pool) - spare]:
        if taken and sum(other.nbytes for other in taken) >= wanted_bytes:
            break
        taken.append(file)
    return taken


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
