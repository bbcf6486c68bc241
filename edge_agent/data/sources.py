"""Private data as rows: JSON Lines, text and source files, and data sets of the Hugging Face hub. Nothing is sent.

A source is one of
    hub:NAME[:SPLIT[:CONFIG]]   a hub data set (split `train` unless named); needs the extra `alignfed[hub]`
    a folder                    every text file below it, each one text
    a file                      `*.jsonl` / `*.ndjson`: one record per line; anything else: one text
    a pattern                   with `*`, `?` or `[]`: every file that matches
"""

from __future__ import annotations

import dataclasses
import glob
import importlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from alignfed.errors import DataUnusable
from alignfed.rows import Row, row_of, text_row

HUB_PREFIX = "hub:"
RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TEXT_EXTENSIONS = (
    "txt", "md", "rst", "py", "pyi", "js", "ts", "java", "c", "h", "cc", "cpp", "hpp", "cs", "go", "rs", "rb", "php",
    "swift", "kt", "scala", "sh", "sql", "html", "css", "tex", "toml", "yaml", "yml",
)  # fmt: skip
"""Endings read from a folder unless the caller names others."""
MAX_TEXT_BYTES = 16 << 20
"""A text file beyond this is a dump, not prose or source: it is skipped and counted."""

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What was read: `rows` to train on, and why files were skipped (reason -> how many)."""

    rows: tuple[Row, ...]
    skipped_files: dict[str, int]

    def shapes(self) -> dict[str, int]:
        """Return how many rows have each shape."""
        return dict(sorted(Counter(row.shape for row in self.rows).items()))


def read_corpus(sources: Iterable[str], *, extensions: Iterable[str] = TEXT_EXTENSIONS) -> Corpus:
    """Read every source, in order.

    Args:
        sources: As the module describes.
        extensions: File name endings that count as text in a folder, without the dot.

    Raises:
        DataUnusable: A source does not exist, cannot be read, is damaged or of no known shape (file and line are
            named), or nothing to train on was found.
    """
    rows: list[Row] = []
    skipped: Counter[str] = Counter()
    suffixes = frozenset("." + extension.strip().lstrip(".").lower() for extension in extensions)
    named = list(sources)
    if not named:
        raise DataUnusable("no data was named: pass --data with a .jsonl file, a folder or hub:NAME")
    for source in named:
        found = len(rows)
        rows.extend(_read_source(source, suffixes, skipped))
        if len(rows) == found:
            raise DataUnusable(_nothing_in(source, suffixes, skipped))
    return Corpus(rows=tuple(rows), skipped_files=dict(sorted(skipped.items())))


def _read_source(source: str, suffixes: frozenset[str], skipped: Counter[str]) -> Iterator[Row]:
    if source.startswith(HUB_PREFIX):
        yield from _read_hub(source.removeprefix(HUB_PREFIX))
        return
    path = Path(source).expanduser()
    if path.is_dir():
        for file in _text_files(path, suffixes):
            yield from _read_text(file, skipped)
    elif path.exists():
        yield from _read_file(path)
    elif glob.has_magic(source):
        files = _matching_files(path)
        if not files:
            raise DataUnusable(f"no file matches {source}: correct the pattern, and quote it so the shell leaves it be")
        for file in files:
            yield from _read_file(file)
    else:
        raise DataUnusable(f"{source} does not exist: name a .jsonl file, a folder, a pattern or hub:NAME")


def _matching_files(pattern: Path) -> list[Path]:
    anchor = Path(pattern.anchor)  # Path.glob takes relative patterns only
    return sorted(file for file in anchor.glob(str(pattern.relative_to(anchor))) if file.is_file())


def _read_file(path: Path) -> Iterator[Row]:
    """Read one file that was named: unlike in a folder, failing to read it is an error."""
    suffix = path.suffix.lower()
    if suffix in RECORD_SUFFIXES:
        yield from _read_records(path)
        return
    if suffix == ".json":
        raise DataUnusable(f"{path} is JSON, not JSON Lines: write one record per line into a .jsonl file")
    skipped: Counter[str] = Counter()
    yield from _read_text(path, skipped)
    if skipped:
        raise DataUnusable(f"{path} cannot be read as text: it is {next(iter(skipped))}")


def _read_records(path: Path) -> Iterator[Row]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    place = f"{path}:{number}"
                    yield row_of(_parse(text, place), place=place)
    except OSError as error:
        raise DataUnusable(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error


def _parse(line: bytes, place: str) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataUnusable(f"{place} is not UTF-8 (byte {error.start}): convert the file to UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataUnusable(
            f"{place} is not valid JSON ({error.msg} at column {error.colno}): correct the line"
        ) from None
    except ValueError:  # what Python says of a number of thousands of digits
        raise DataUnusable(f"{place} holds a number that is too long: correct the line") from None
    except RecursionError:
        raise DataUnusable(f"{place} is nested too deeply: correct the line") from None


def _text_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the text files below `folder` in path order, leaving out hidden and generated folders."""

    def wanted(path: Path) -> bool:
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in parts)
        return path.suffix.lower() in suffixes and not hidden and path.is_file()

    return sorted(path for path in folder.rglob("*") if wanted(path))


def _read_text(path: Path, skipped: Counter[str]) -> Iterator[Row]:
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_TEXT_BYTES else b""
    except OSError:
        skipped["unreadable"] += 1
        return
    if size > MAX_TEXT_BYTES:
        skipped["too large"] += 1
        return
    if b"\0" in content:
        skipped["binary"] += 1
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        skipped["not UTF-8"] += 1
        return
    if not text.strip():
        skipped["empty"] += 1
        return
    yield text_row(text, place=str(path))


def _read_hub(name: str) -> Iterator[Row]:
    dataset, split, config = (*name.split(":", 2), "", "")[:3]
    if not dataset:
        raise DataUnusable("hub: needs a data set's name, for example hub:databricks/databricks-dolly-15k")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise DataUnusable(
            f"hub:{name} needs the package `datasets`, which is not installed: pip install 'alignfed[hub]'"
        ) from error
    try:
        records = datasets.load_dataset(dataset, config or None, split=split or "train")
    except Exception as error:  # the library raises many kinds; all of them mean the same here
        raise DataUnusable(f"the hub's data set {dataset} cannot be loaded ({error}): check name and split") from error
    for index, record in enumerate(records):
        yield row_of(record, place=f"{HUB_PREFIX}{name}[{index}]")


def _nothing_in(source: str, suffixes: frozenset[str], skipped: Counter[str]) -> str:
    path = Path(source).expanduser()
    if not path.is_dir():
        return f"{source} holds no rows: it is empty"
    if any(file.suffix.lower() in RECORD_SUFFIXES for file in path.iterdir()):
        return (
            f"{source} is read as a folder of text files and holds none, but it has .jsonl files: name {source}/*.jsonl"
        )
    endings = ", ".join(sorted(suffixes))
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f"{source} holds no readable text file ({why or 'no file'} ending in {endings}): name other --extensions"
