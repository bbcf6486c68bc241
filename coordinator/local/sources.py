"""Real text for a local federation without a download: Python's own source packages, or one's own files.

Every domain is written to the run's folder in three disjoint parts: private training data (only the domain's agents are
given its path), held-out rows (for the report) and calibration rows (held by the server).
"""

from __future__ import annotations

import dataclasses
import logging
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from alignfed.errors import DataUnusable
from alignfed.rows import row_of
from coordinator.cli.text_files import (
    CHARACTERS_PER_TOKEN,
    Record,
    chunks_of,
    read_text,
    records_of,
    text_files,
    write_records,
)
from coordinator.local.splits import (
    MIN_FILES,
    SourceFile,
    Split,
    deal,
    split_files,
    split_rows,
    spread,
)

logger = logging.getLogger(__name__)

PYTHON_PACKAGES = (
    "asyncio", "email", "tkinter", "unittest",
    # for more agents, and in place of a package that a distribution leaves out, as Debian does with tkinter
    "xml", "multiprocessing", "http", "importlib", "logging", "ctypes", "json",
)  # fmt: skip
MIN_PACKAGE_BYTES = 100_000
"""A package with less source than this is no domain: an agent would see every line several times in a short run."""
HELD_OUT_TOKENS = 1024
"""Tokens kept for the report per domain: evaluating ten versions on four domains takes about a minute."""
MIN_HELD_OUT_ROWS = 4
"""Rows kept for the report even if they are longer."""
CALIBRATION_ROWS = 48
"""Rows kept for the server per domain: more than any plan's share of fit and judge rows for four domains."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a domain's text is: a folder of text files, or one file of rows or text."""

    domain: str
    path: Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain as written to the run's folder: one `train` path per agent, JSON Lines of held-out rows."""

    name: str
    train: tuple[Path, ...]
    held_out: Path
    calibration: tuple[Record, ...]


def python_sources(count: int, *, library: Path | None = None) -> list[Source]:
    """Return `count` source packages of the Python that runs this, the usual four first.

    Args:
        count: How many domains are wanted; fewer are returned when Python has not got that many.
        library: Folder of the standard library; None for this Python's own.

    Raises:
        DataUnusable: No package has any source.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    found = [Source(domain=name, path=root / name) for name in PYTHON_PACKAGES if _is_domain(root / name)]
    if not found:
        raise DataUnusable(f"{root} holds no Python source to train on: give your own files with --data")
    return found[:count]


def file_sources(paths: Sequence[Path]) -> list[Source]:
    """Return one source per file or folder, named after it.

    Raises:
        DataUnusable: A path does not exist, or two have the same name.
    """
    sources: dict[str, Source] = {}
    for path in paths:
        if not path.exists():
            raise DataUnusable(f"{path} does not exist: give JSON Lines files, or folders of text files")
        name = path.stem if path.is_file() else path.name
        if name in sources:
            raise DataUnusable(f"two domains are called {name} ({sources[name].path}, {path}): rename one of them")
        sources[name] = Source(domain=name, path=path)
    return list(sources.values())


def write_domain(source: Source, folder: Path, *, agents: int, sequence_length: int) -> Domain:
    """Split one source and write its parts below `folder`.

    Args:
        source: What to split.
        folder: Created; existing files of the same names are overwritten.
        agents: How many agents share the domain's training data, disjointly.
        sequence_length: Tokens per row.

    Raises:
        DataUnusable: The source is empty, unreadable or too small to split.
    """
    if source.path.is_dir():
        return _write_files(source, folder, agents, sequence_length)
    characters = CHARACTERS_PER_TOKEN * sequence_length
    parts = split_file(source, characters=characters)
    if len(parts.train) < agents:
        raise DataUnusable(f"{source.path} has {len(parts.train)} training rows for {agents} agents: use fewer agents")
    train = []
    for index, rows in enumerate(deal(parts.train, agents)):
        train.append(write_records(folder / f"train-{index + 1}.jsonl", rows))
    held_out = write_records(folder / "held_out.jsonl", spread(parts.held_out, held_out_rows(sequence_length)))
    calibration = tuple(spread(parts.calibration, CALIBRATION_ROWS))
    return Domain(name=source.domain, train=tuple(train), held_out=held_out, calibration=calibration)


def split_file(source: Source, *, characters: int) -> Split[Record]:
    """Read and split a domain that is one file; rows that have no answer teach nothing and are left out, and said.

    Args:
        source: JSON Lines, or a text that is cut into rows.
        characters: Of a row of text, at least.

    Raises:
        DataUnusable: It is unreadable, a row is of no known shape, or too few rows are left to split.
    """
    records = records_of(source.path, chunk_characters=characters)
    answered = [r for i, r in enumerate(records, start=1) if row_of(r, place=f"{source.path}:{i}").has_answer]
    if len(answered) < len(records):
        logger.warning("%s: %d rows without an answer are left out", source.path, len(records) - len(answered))
    return split_rows(answered, domain=str(source.path))


def calibration_rows(domains: Sequence[Domain], *, count: int) -> list[Record]:
    """Return `count` rows, taken from every domain in turn so that any prefix covers all domains evenly.

    Fewer when the domains have not got that many.
    """
    per_domain = -(-count // len(domains))
    hands = [spread(domain.calibration, per_domain) for domain in domains]
    turns = [hand[i] for i in range(per_domain) for hand in hands if i < len(hand)]
    return turns[:count]


def held_out_rows(sequence_length: int) -> int:
    """Return how many rows of so many tokens are kept for the report per domain."""
    return max(MIN_HELD_OUT_ROWS, HELD_OUT_TOKENS // sequence_length)


def _write_files(source: Source, folder: Path, agents: int, sequence_length: int) -> Domain:
    files = [
        SourceFile(name=str(file.relative_to(source.path)), nbytes=file.stat().st_size)
        for file in text_files(source.path)
    ]
    parts = split_files(files, domain=str(source.path))
    if len(parts.train) < agents:
        raise DataUnusable(f"{source.path} has {len(parts.train)} training files for {agents} agents: use fewer agents")
    train = []
    for index, hand in enumerate(deal(parts.train, agents)):
        train.append(folder / f"train-{index + 1}")
        for file in hand:
            copy = train[-1] / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(read_text(source.path / file.name), "utf-8")
    held_out = _chunks(source, parts.held_out, sequence_length)
    return Domain(
        name=source.domain,
        train=tuple(train),
        held_out=write_records(folder / "held_out.jsonl", spread(held_out, held_out_rows(sequence_length))),
        calibration=tuple(spread(_chunks(source, parts.calibration, sequence_length), CALIBRATION_ROWS)),
    )


def _chunks(source: Source, files: Sequence[SourceFile], sequence_length: int) -> list[Record]:
    characters = CHARACTERS_PER_TOKEN * sequence_length
    texts = [read_text(source.path / file.name) for file in files]
    return [{"text": piece} for text in texts for piece in chunks_of(text, characters=characters)]


def _is_domain(folder: Path) -> bool:
    files = text_files(folder) if folder.is_dir() else []
    return len(files) >= MIN_FILES and sum(file.stat().st_size for file in files) >= MIN_PACKAGE_BYTES
