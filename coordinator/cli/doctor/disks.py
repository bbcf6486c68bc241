"""Checks of this machine's disk: the embedded store's folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from coordinator.cli.doctor.findings import Finding, not_checked, ok, problem, warning

LEAST_FREE_BYTES = 256 << 20
"""Below this the next few uploads may fill the disk, and the store then refuses every write."""

COMFORTABLE_FREE_BYTES = 1 << 30


def check_disk(check: str, folder: Path, *, named: bool, memory_used_bytes: int = 0) -> Finding:
    """Check that a folder exists, can be written, and has room.

    Args:
        check: Name of the check.
        folder: A data folder.
        named: Whether somebody named it; the usual one may be missing.
        memory_used_bytes: What the store keeps in memory: rewriting its append-only file takes as much room again.
    """
    if not folder.is_dir():
        if not named:
            return not_checked(check, f"there is no {folder} here", "name an embedded store's folder with --data-dir")
        return problem(
            check, f"there is no folder {folder}", "correct the path; a coordinator creates it when it starts"
        )
    if not os.access(folder, os.W_OK):
        return problem(check, f"{folder} cannot be written by this user", "correct its owner or permissions")
    return judge_room(check, folder, shutil.disk_usage(folder).free, memory_used_bytes)


def judge_room(check: str, folder: Path, free_bytes: int, memory_used_bytes: int) -> Finding:
    """Judge the room that is left."""
    found = f"{folder} has {free_bytes / (1 << 30):.1f} GiB free"
    advice = "free some: when the disk is full the store refuses every write, and uploads stop"
    if free_bytes < LEAST_FREE_BYTES:
        return problem(check, found, advice)
    needed = max(COMFORTABLE_FREE_BYTES, 2 * memory_used_bytes)
    if free_bytes < needed:
        return warning(check, f"{found}; {needed / (1 << 30):.1f} GiB would let the store rewrite its file", advice)
    return ok(check, found)
