"""Opens the place of payloads by its URL: the one place that knows every kind of object store."""

from __future__ import annotations

from pathlib import Path

from alignfed.errors import RequestInvalid
from coordinator.backends.objects.files import FileObjects
from coordinator.backends.objects.objects import Objects
from coordinator.backends.objects.place import FILE, parse_place


def open_objects(url: str) -> Objects:
    """Return the objects behind a payload URL; `coordinator.backends.objects.place` shows the forms. Nothing connects.

    Raises:
        RequestInvalid: The URL cannot be used, or the extra that it needs is not installed.
    """
    place = parse_place(url)
    if place.scheme == FILE:
        return FileObjects(Path(place.path))
    try:
        from coordinator.backends.objects.buckets import BucketObjects  # obstore is part of the `objectstore` extra
    except ImportError as error:
        raise RequestInvalid(
            f"payloads in {place.scheme}:// need obstore, which is not installed: pip install 'alignfed[objectstore]'"
        ) from error
    return BucketObjects(place)
