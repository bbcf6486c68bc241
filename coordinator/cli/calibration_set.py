"""The calibration set of a new federation: the operator's files in the form that the worker reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from alignfed.chat import segments_of
from alignfed.errors import CalibrationMissing, WrongBaseModel
from alignfed.plan import FederationPlan
from alignfed.rows import row_of
from coordinator.cli.text_files import CHARACTERS_PER_TOKEN, Record, json_lines, records_of
from coordinator.worker.adapter import quiet_transformers
from coordinator.worker.calibration_rows import rows_from_jsonl, split_rows


def calibration_set(plan: FederationPlan, data: Sequence[Path], model_dir: Path) -> bytes:
    """Return a calibration set as JSON Lines of `text`, or of `prompt` and `completion`.

    Args:
        plan: Says how many rows are needed, and how long they are.
        data: Files or folders of rows in any known shape, or of text.
        model_dir: The base model, whose chat template renders conversations and questions, as agents do.

    Raises:
        CalibrationMissing: There are fewer distinct rows than the plan uses.
        DataUnusable: A file is missing, unreadable or of no known shape.
        WrongBaseModel: The directory holds no tokenizer.
    """
    wanted = plan.calibration.fit_rows + plan.calibration.judge_rows
    characters = CHARACTERS_PER_TOKEN * plan.calibration.sequence_length
    tokenizer = load_tokenizer(model_dir) if data else None
    plain = [
        plain_record(record, tokenizer, place=f"{path} row {number}")
        for path in data
        for number, record in enumerate(records_of(path, chunk_characters=characters), start=1)
    ]
    if not plain:
        if wanted:
            raise CalibrationMissing(
                f"the plan fits and judges on {wanted} calibration rows but there are none: name JSON Lines files in "
                "calibration.data, or set calibration.fit_rows and calibration.judge_rows to 0"
            )
        return b""
    payload = json_lines(plain).encode()
    rows = rows_from_jsonl(payload)
    split_rows(rows, fit_rows=plan.calibration.fit_rows, judge_rows=plan.calibration.judge_rows, version_number=0)
    return payload


def plain_record(record: Record, tokenizer: Any, *, place: str) -> Record:
    """Return a record of any known shape as `text`, or as `prompt` and the last `completion` of a conversation.

    Args:
        record: As read from a file.
        tokenizer: Of the base model.
        place: Where the record came from, for messages.

    Raises:
        DataUnusable: It is of no known shape, or the chat template refuses it.
        CalibrationMissing: It has no answer.
    """
    segments = segments_of(row_of(record, place=place), tokenizer)
    learned = [index for index, segment in enumerate(segments) if segment.learned]
    if not learned:
        raise CalibrationMissing(f"{place} has an empty answer: fill it or remove the row")
    prompt = "".join(segment.text for segment in segments[: learned[-1]])
    answer = segments[learned[-1]].text
    return {"prompt": prompt, "completion": answer} if prompt else {"text": answer}


def load_tokenizer(model_dir: Path) -> Any:
    """Return the tokenizer of a base model.

    Raises:
        WrongBaseModel: The directory holds none.
    """
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WrongBaseModel(
            f"{model_dir} holds no tokenizer ({error}): give a directory made by save_pretrained"
        ) from error
