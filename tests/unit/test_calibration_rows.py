"""Calibration rows: read or refused with the line's number, and never both fitted and judged."""

from __future__ import annotations

import pytest

from alignfed.errors import CalibrationMissing
from coordinator.worker.calibration_rows import CalibrationRow, rows_from_jsonl, split_rows

ROWS = tuple(CalibrationRow(prompt="" if i % 2 else f"question {i}", answer=f"answer {i}") for i in range(11))


def test_rows_are_read_once_each() -> None:
    data = b'{"text": "one"}\n\n{"prompt": "p", "completion": "c"}\r\n{"text": "one"}\n{"text": "a\xe2\x80\xa8b"}'
    assert rows_from_jsonl(data) == (
        CalibrationRow(prompt="", answer="one"),
        CalibrationRow(prompt="p", answer="c"),
        CalibrationRow(prompt="", answer="a\u2028b"),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b'{"text": "ok"}\n{"text": ', "line 2"),
        (b'["text"]', "line 1"),
        (b'{"question": "?"}', "line 1"),
        (b'{"text": 3}', "line 1"),
        (b'{"text": "  "}', "line 1"),
        (b'{"prompt": 1, "completion": "c"}', "line 1"),
        (b"\xff\xfe{", "UTF-8"),
    ],
)
def test_unreadable_rows_say_where(data: bytes, message: str) -> None:
    with pytest.raises(CalibrationMissing, match=message):
        rows_from_jsonl(data)


def test_rows_to_fit_and_judge_never_meet() -> None:
    splits = [split_rows(ROWS * 2, fit_rows=3, judge_rows=4, version_number=k) for k in range(1, 30)]
    assert len({split.judge for split in splits}) == 1
    for split in splits:
        assert (len(split.fit), len(split.judge)) == (3, 4)
        assert len(set(split.fit) | set(split.judge)) == 7
    assert {row for split in splits for row in split.fit} == set(ROWS) - set(splits[0].judge)
    assert splits[0].fit != splits[1].fit
    again = split_rows(tuple(reversed(ROWS)), fit_rows=3, judge_rows=4, version_number=1)
    assert again == splits[0]


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(CalibrationMissing, match="11 distinct rows"):
        split_rows(ROWS, fit_rows=8, judge_rows=4, version_number=1)
    assert split_rows(ROWS, fit_rows=0, judge_rows=11, version_number=1).fit == ()
