"""Writing files so that a crash at any point leaves the old content or the new, never a mixture.

What the disk refuses becomes an error of the tree: `DiskFull` when waiting helps, since space may be freed, else
`RequestInvalid`.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alignfed import failpoints
from alignfed.errors import DiskFull, RequestInvalid

TEMPORARY_SUFFIX = ".tmp"

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Turn what the system refuses inside the block into errors of the tree.

    Args:
        place: What is written, for the message.

    Raises:
        DiskFull: The disk has no space left, or the user's quota is used up.
        RequestInvalid: Anything else: no permission, a read-only or broken disk, a directory that somebody removed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"no space is left for {place} ({error.strerror or error}): free some; work goes on by itself then"
            ) from error
        raise RequestInvalid(
            f"{place} cannot be written ({error}): make it writable, or name another --state-dir"
        ) from error


def sync_directory(directory: Path) -> None:
    """Make renames and deletions inside `directory` survive a power cut."""
    with storing(directory):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with failpoints.around("file.fsync_directory"):
                os.fsync(handle)
        finally:
            os.close(handle)


def write_synced(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a new file and force it to the disk; a crash may leave part of it, so its name must not be final yet."""
    with storing(path), path.open("wb") as stream:
        with failpoints.around("file.write"):
            stream.write(content)
            stream.flush()
        with failpoints.around("file.fsync"):
            os.fsync(stream.fileno())


def replace_json(path: Path, values: dict[str, Any], *, synced: bool = True) -> None:
    """Replace `path` with `values` as JSON in one step; `synced=False` when losing it in a power cut costs nothing."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    content = json.dumps(values, separators=(",", ":")).encode()
    with storing(path):
        if not synced:
            temporary.write_bytes(content)
            temporary.replace(path)
            return
        write_synced(temporary, content)
        with failpoints.around("file.replace"):
            temporary.replace(path)
        sync_directory(path.parent)
