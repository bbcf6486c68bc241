"""Domains of real text in four disjoint parts: to train on, to calibrate with, to tune by, and for the final test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignfed.errors import DataUnusable
from coordinator.cli.calibration_set import plain_record
from coordinator.cli.text_files import Record, chunks_of, read_text, text_files
from coordinator.local.sources import Source, split_file
from coordinator.local.splits import SourceFile, Split, split_files, spread
from coordinator.worker.calibration_rows import CalibrationRow

CHARACTERS_PER_TOKEN = 3
"""Text is cut into rows of so many characters per token: what a small vocabulary takes for source code."""
CALIBRATION_ROWS = 96
"""Rows kept for the server per domain, at most."""

BUILT_IN = ("asyncio", "encodings", "pydoc_data", "xml")
"""Parts of Python's own library that differ from one another: concurrent code, tables, English prose, parsers."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSize:
    """Rows per domain to tune by and for the final test."""

    tuning_rows: int = 16
    test_rows: int = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One domain; no row is in two parts. `tuning` chooses settings, `test` is looked at once, in the report."""

    name: str
    train: tuple[CalibrationRow, ...]
    calibration: tuple[CalibrationRow, ...]
    tuning: tuple[CalibrationRow, ...]
    test: tuple[CalibrationRow, ...]


def built_in_sources(library: Path | None = None) -> list[Source]:
    """Return the built-in domains that this Python has.

    Args:
        library: Folder of the standard library; None for this Python's own.

    Raises:
        DataUnusable: Fewer than two are there.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    topics = root / "pydoc_data" / "topics.py"
    places = {name: topics if name == "pydoc_data" else root / name for name in BUILT_IN}
    sources = [Source(domain=name, path=path) for name, path in places.items() if path.exists()]
    if len(sources) < 2:
        raise DataUnusable(
            f"{root} lacks the source of {', '.join(BUILT_IN)}: name your own data with --data NAME=PATH"
        )
    return sources


def read_domain(source: Source, tokenizer: Any, *, sequence_length: int, sizes: EvaluationSize) -> Domain:
    """Read and split one domain: whole files at a time where it is a folder, else by rows.

    Raises:
        DataUnusable: It is missing, unreadable or too small to split.
        CalibrationMissing: A row has no answer.
    """
    characters = CHARACTERS_PER_TOKEN * sequence_length
    split = _split_folder(source, characters) if source.path.is_dir() else split_file(source, characters=characters)

    def rows(records: Sequence[Record], most: int | None = None) -> tuple[CalibrationRow, ...]:
        chosen = list(records) if most is None else spread(records, most)
        plain = [plain_record(record, tokenizer, place=f"a row of {source.path}") for record in chosen]
        return tuple(CalibrationRow(prompt=r.get("prompt", ""), answer=r.get("completion") or r["text"]) for r in plain)

    # rows that follow one another in a file stay together: the first of them tune, the others test
    held_out = split.held_out
    cut = len(held_out) * sizes.tuning_rows // (sizes.tuning_rows + sizes.test_rows)
    if not 0 < cut < len(held_out):
        raise DataUnusable(f"{source.path} holds out {len(held_out)} rows; at least 2 are needed: give more data")
    return Domain(
        name=source.domain,
        train=rows(split.train),
        calibration=rows(split.calibration, CALIBRATION_ROWS),
        tuning=rows(held_out[:cut], sizes.tuning_rows),
        test=rows(held_out[cut:], sizes.test_rows),
    )


def digest_of(domains: Sequence[Domain]) -> str:
    """Return a digest of every part of every domain (SHA-256, 16 hex digits)."""
    digest = hashlib.sha256()
    for domain in domains:
        digest.update(json.dumps(dataclasses.asdict(domain), sort_keys=True).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def _split_folder(source: Source, characters: int) -> Split[Record]:
    files = [
        SourceFile(name=str(file.relative_to(source.path)), nbytes=file.stat().st_size)
        for file in text_files(source.path)
    ]
    parts = split_files(files, domain=str(source.path))

    def chunks(part: Sequence[SourceFile]) -> tuple[Record, ...]:
        texts = [read_text(source.path / file.name) for file in part]
        return tuple({"text": piece} for text in texts for piece in chunks_of(text, characters=characters))

    return Split(train=chunks(parts.train), held_out=chunks(parts.held_out), calibration=chunks(parts.calibration))
