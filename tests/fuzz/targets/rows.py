"""Training and calibration data: whatever is read can be tokenised, written and sent; nothing else is an answer."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path

from alignfed.chat import segments_of
from alignfed.rows import Row
from coordinator.cli.text_files import json_lines, records_of
from coordinator.worker.calibration_rows import rows_from_jsonl, split_rows
from edge_agent.data.sources import read_corpus
from tests.fuzz.mutations import mutate_bytes, mutate_json
from tests.fuzz.target import Target

_ROWS = (
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]},
    {"prompt": "1 + 1 =", "completion": " 2"},
    {"instruction": "say", "input": "x", "output": "y"},
    {"instruction": "say", "context": "", "response": "y"},
    {"question": "why?", "answer": "so"},
    {"text": "words and words"},
)
_READERS = ("agent's rows", "agent's text", "operator's rows", "operator's text", "calibration set")
"""An input's first byte chooses among these."""


class _NoTemplate:
    chat_template = None
    bos_token_id = eos_token_id = 0


def seeds() -> list[bytes]:
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in _ROWS]
    whole = b"\n".join(lines)
    return [bytes((index,)) + part for index in range(len(_READERS)) for part in (whole, *lines)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    lines = data[1:].split(b"\n")
    place = rng.randrange(len(lines))
    if rng.random() < 0.8:
        lines[place] = mutate_json(lines[place], rng)
        return data[:1] + b"\n".join(lines)
    return data[:1] + mutate_bytes(data[1:], rng)


def check(data: bytes) -> str:
    index = data[0] % len(_READERS) if data else 0
    path = Path(_holder().name) / ("rows.txt" if index in (1, 3) else "rows.jsonl")
    if index == 4:
        rows = rows_from_jsonl(data[1:])
        split_rows(rows, fit_rows=1, judge_rows=max(0, len(rows) - 1), version_number=3)
        for row in rows:
            (row.prompt + row.answer).encode()
        return "accepted as calibration set"
    path.write_bytes(data[1:])
    if index in (0, 1):
        for row in read_corpus([str(path)]).rows:
            _assert_learnable(row)
    else:
        json_lines(records_of(path, chunk_characters=100)).encode()
    return f"accepted as {_READERS[index]}"


def _assert_learnable(row: Row) -> None:
    for segment in segments_of(row, _NoTemplate()):  # type: ignore[arg-type]  # never called without a template
        segment.text.encode()  # what no tokenizer could read is no text


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="rows", seeds=seeds, mutate=mutate, check=check)
