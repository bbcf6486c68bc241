"""Rows of the calibration set: read, checked and divided among fitting and judging. Pure: no tokenizer, no torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence

from alignfed.errors import CalibrationMissing

_SHUFFLE_SEED = "alignfed calibration rows"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow:
    """One row: `answer` is scored after `prompt`, which is empty for plain text."""

    prompt: str
    answer: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RowSplit:
    """Rows to fit coefficients or alignments on, and rows to judge candidates by; no row is in both."""

    fit: tuple[CalibrationRow, ...]
    judge: tuple[CalibrationRow, ...]


def rows_from_jsonl(data: bytes) -> tuple[CalibrationRow, ...]:
    """Read a calibration set: JSON Lines of `{"text": ...}` or `{"prompt": ..., "completion": ...}`.

    Args:
        data: UTF-8; blank lines are skipped.

    Returns:
        The rows in their order, repeated rows once: a row must never be fitted and judged.

    Raises:
        CalibrationMissing: There are no rows, or a line cannot be read; the message names the line, never its content.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CalibrationMissing(f"the calibration set is not UTF-8 text ({error.reason}): save it as UTF-8") from error
    # not splitlines: JSON strings may hold the other line separators of Unicode
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    rows = tuple(dict.fromkeys(_row(line, number) for number, line in numbered))
    if not rows:
        raise CalibrationMissing("the calibration set is empty: give a JSON Lines file with at least one row")
    return rows


def split_rows(rows: Sequence[CalibrationRow], *, fit_rows: int, judge_rows: int, version_number: int) -> RowSplit:
    """Choose the rows for the merge that makes `version_number`.

    Judge rows are the same for every version, so that losses compare. Fit rows are disjoint from them and move on by
    `fit_rows` from version to version, around the rest of the set. The order depends on the rows' content alone.

    Raises:
        CalibrationMissing: There are fewer distinct rows than `fit_rows + judge_rows`.
    """
    shuffled = sorted(dict.fromkeys(rows), key=_shuffle_key)
    if len(shuffled) < fit_rows + judge_rows:
        raise CalibrationMissing(
            f"the calibration set has {len(shuffled)} distinct rows, the plan fits on {fit_rows} and judges by "
            f"{judge_rows}: add rows, or lower calibration.fit_rows and calibration.judge_rows"
        )
    judge, rest = shuffled[:judge_rows], shuffled[judge_rows:]
    start = version_number * fit_rows
    return RowSplit(fit=tuple(rest[(start + i) % len(rest)] for i in range(fit_rows)), judge=tuple(judge))


def _row(line: str, number: int) -> CalibrationRow:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CalibrationMissing(f"line {number} of the calibration set is not JSON: one object per line") from error
    if not isinstance(record, dict):
        raise CalibrationMissing(f"line {number} of the calibration set is not a JSON object")
    keys = ("prompt", "completion") if "completion" in record else ("", "text")
    prompt, answer = record.get(keys[0], ""), record.get(keys[1])
    if not isinstance(prompt, str) or not isinstance(answer, str) or not answer.strip():
        raise CalibrationMissing(
            f'line {number} of the calibration set needs a "text", or a "prompt" and a "completion", that is not blank'
        )
    try:
        (prompt + answer).encode()
    except UnicodeEncodeError:
        raise CalibrationMissing(
            f"line {number} of the calibration set holds half of a character: write it whole, or leave it out"
        ) from None
    return CalibrationRow(prompt=prompt, answer=answer)


def _shuffle_key(row: CalibrationRow) -> bytes:
    return hashlib.sha256(json.dumps([_SHUFFLE_SEED, row.prompt, row.answer]).encode()).digest()
