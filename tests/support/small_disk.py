"""A disk that is soon full: a file system in memory of a few hundred KiB, mounted while the block runs."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

import pytest

FILLER = "filler"
CHUNK_BYTES = 4096


@contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[Path]:
    """Mount it at `folder` and yield that; skips the test where mounting is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here: run this test as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / FILLER).open("ab", buffering=0) as stream:
        for size_bytes in (CHUNK_BYTES, 1):
            while _grows(stream, size_bytes):
                pass


def _grows(stream: RawIOBase, size_bytes: int) -> bool:
    try:
        return bool(stream.write(b"x" * size_bytes))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return False
        raise


def empty(disk: Path) -> None:
    """Free what `fill` took."""
    (disk / FILLER).unlink(missing_ok=True)
