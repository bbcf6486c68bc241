"""Rows and texts from files on the operator's machine: for calibration sets, and for the domains of a local run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignfed.errors import DataUnusable

RECORD_SUFFIXES = frozenset({".jsonl", ".ndjson"})
TEXT_SUFFIXES = frozenset({
    ".txt", ".md", ".rst", ".py", ".pyi", ".js", ".ts", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs",
    ".rb", ".php", ".swift", ".kt", ".scala", ".sh", ".sql", ".html", ".css", ".tex",
})  # fmt: skip
CHARACTERS_PER_TOKEN = 6
"""Text is cut into rows of so many characters per token: prose has about four per token, source code about three."""

_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "__pycache__", "node_modules"})

Record = Mapping[str, Any]


def read_records(path: Path) -> list[Record]:
    """Return the objects of a JSON Lines file; empty lines are skipped.

    Raises:
        DataUnusable: The file cannot be read, or a line is not a JSON object; the message names the line.
    """
    records: list[Record] = []
    # not splitlines: JSON strings may hold the other line separators of Unicode
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataUnusable(f"{path}:{number} is not valid JSON ({error}): correct the line") from None
        if not isinstance(record, dict):
            raise DataUnusable(f"{path}:{number} is not a JSON object: each line must be one")
        if "\\u" in line:
            _check_whole(record, f"{path}:{number}")
        records.append(record)
    return records


def _check_whole(record: Record, place: str) -> None:
    """Refuse half of a character, which JSON can escape and no file can hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise DataUnusable(f"{place} holds half of a character: write it whole, or leave it out") from None


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        DataUnusable: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise DataUnusable(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise DataUnusable(f"{path} is not UTF-8 (byte {error.start}): convert it to UTF-8") from None


def text_files(folder: Path) -> list[Path]:
    """Return the text and source files below `folder` in path order, tests and hidden folders left out."""

    def wanted(path: Path) -> bool:
        above = path.relative_to(folder).parts[:-1]
        skipped = any(part in _SKIPPED_FOLDERS or part.startswith(".") for part in above)
        return path.suffix.lower() in TEXT_SUFFIXES and not skipped and path.is_file()

    return sorted(path for path in folder.rglob("*") if wanted(path))


def chunks_of(text: str, *, characters: int) -> list[str]:
    """Cut a text at line ends into pieces of at least `characters`; a shorter remainder is dropped unless it is all."""
    pieces: list[str] = []
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= characters:
            pieces.append(piece)
            piece = ""
    return pieces or ([piece] if piece.strip() else [])


def records_of(path: Path, *, chunk_characters: int) -> list[Record]:
    """Return the rows of a file or folder: JSON Lines as they are, texts in pieces as `{"text": ...}`.

    Raises:
        DataUnusable: The path does not exist, or a file in it cannot be read.
    """
    if not path.exists():
        raise DataUnusable(f"{path} does not exist: name a JSON Lines file, a text file or a folder of text files")
    if path.suffix.lower() in RECORD_SUFFIXES:
        return read_records(path)
    files = text_files(path) if path.is_dir() else [path]
    return [{"text": piece} for file in files for piece in chunks_of(read_text(file), characters=chunk_characters)]


def write_records(path: Path, records: list[Record]) -> Path:
    """Write rows as JSON Lines, creating the folder, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_lines(records), "utf-8")
    return path


def json_lines(records: list[Record]) -> str:
    """Return rows as a JSON Lines document."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
