"""Finds objects that no record points to.

A process that is killed leaves them between an object and its note or while it deletes; so does an object that arrives
after its blob was deleted.
"""

from __future__ import annotations

import logging
from urllib.parse import unquote

from coordinator.backends.objects.objects import Objects
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import PAYLOADS_PLACE, blob_key
from coordinator.backends.redis.parts import FOLDER_FIELD

_LOG = logging.getLogger(__name__)

STEP_OBJECTS = 1000
"""Objects that a step lists: one request to an object store."""

TURN_SECONDS = 60.0
"""How often a step is made, by whichever worker comes first: a million objects are gone through in a day."""


async def sweep_orphans(calls: Calls, objects: Objects, *, before: float, turn_seconds: float = TURN_SECONDS) -> int:
    """Take the next step through all objects, deleting folders that no record points to; the last step starts anew.

    A folder's name is in its blob's record before anything is in the folder, and never comes back once the record is
    gone: so no step can take what is needed, whatever the age. The age only spares what a process is about to delete
    itself, and gives an operator who lost records time to notice.

    Args:
        calls: To the records.
        objects: What is searched.
        before: Younger folders are left alone (Unix seconds).
        turn_seconds: Steps are at least so far apart, over all processes.

    Returns:
        How many folders were deleted.
    """
    turn, *details = await calls.script("orphan_turn", [PAYLOADS_PLACE], [turn_seconds], federation="")
    if turn != "turn":
        return 0
    (after,) = details
    found = await objects.folders(after=after, limit=STEP_OBJECTS)
    old = [folder.name for folder in found if folder.modified_at < before]
    orphans = await folders_without_record(calls, old)
    for name in orphans:
        await objects.delete_folder(name)
    if orphans:
        _LOG.info("deleted %d folders of payloads that nothing points to", len(orphans))
    await calls.script("orphan_step", [PAYLOADS_PLACE], [found[-1].name if found else ""], federation="")
    return len(orphans)


async def folders_without_record(calls: Calls, names: list[str]) -> list[str]:
    """Return which folders are not those that the records of their blobs name."""
    if not names:
        return []
    pairs = [name.split("/", 1) for name in names if name.count("/") == 1]
    folders = await calls.batch("folders", [("HGET", blob_key(unquote(blob)), FOLDER_FIELD) for blob, _ in pairs])
    return [
        f"{blob}/{folder}"
        for (blob, folder), noted in zip(pairs, folders, strict=True)
        if (noted or b"").decode() != folder
    ]
