"""Writing files so that a crash at any point leaves the old content or the new, never a mixture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from alignfed import failpoints

TEMPORARY_SUFFIX = ".tmp"


def sync_directory(directory: Path) -> None:
    """Make renames and deletions inside `directory` survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with failpoints.around("file.fsync_directory"):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a new file and force it to the disk; a crash may leave part of it, so its name must not be final yet."""
    with path.open("wb") as stream:
        with failpoints.around("file.write"):
            stream.write(content)
            stream.flush()
        with failpoints.around("file.fsync"):
            os.fsync(stream.fileno())


def replace_json(path: Path, values: dict[str, Any], *, synced: bool = True) -> None:
    """Replace `path` with `values` as JSON in one step; `synced=False` when losing it in a power cut costs nothing."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    content = json.dumps(values, separators=(",", ":")).encode()
    if not synced:
        temporary.write_bytes(content)
        temporary.replace(path)
        return
    write_synced(temporary, content)
    with failpoints.around("file.replace"):
        temporary.replace(path)
    sync_directory(path.parent)
