"""Staleness in classes: what metrics, status page and terminal view show alike."""

from __future__ import annotations

STALENESS_CLASSES = ("0", "1", "2-3", "4-7", "8-15", "16+")
"""Every class of staleness, in versions: a closed set, so that metrics may have it as a label."""

_FIRST_OF_CLASS = (0, 1, 2, 4, 8, 16)


def staleness_class(versions: int) -> str:
    """Return the class of a staleness of zero or more versions."""
    reached = [name for first, name in zip(_FIRST_OF_CLASS, STALENESS_CLASSES, strict=True) if versions >= first]
    return reached[-1] if reached else STALENESS_CLASSES[0]
