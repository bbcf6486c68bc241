"""One store, one place of payloads: a mark in the place and a record in Redis, which must name each other.

Without it, a process with a wrong URL would find no payloads, and the search for orphans of an empty store would take
those of another.
"""

from __future__ import annotations

import dataclasses
import secrets

from alignfed.errors import StoreUnsafe
from coordinator.backends.objects.objects import Objects
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import PAYLOADS_PLACE

MARK = "alignfed-payloads"
"""Name of the object that holds the id of the store whose payloads these are."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What Redis says of the payloads' place; empty before the first payload. `marked` once the mark was there."""

    id: str
    place: str
    marked: bool


async def check_place(calls: Calls, objects: Objects | None) -> None:
    """Check that a store's payloads are where this process was told, None for in the store itself. Writes nothing.

    Raises:
        StoreUnsafe: They are elsewhere, or the place is another store's or has lost its mark.
        StoreUnreachable: Redis or the place does not answer.
    """
    claim = await _read(calls)
    if objects is None:
        if claim.marked:
            raise StoreUnsafe(
                f"the store's payloads are kept in {claim.place}: give --blob-url {claim.place} (ALIGNFED_BLOB_URL)"
            )
        return
    mark = await objects.get(MARK)
    if mark is not None and mark.decode(errors="replace") != claim.id:
        raise _anothers(objects)
    if mark is None and claim.marked:
        raise _unmarked(objects, claim)


async def claim_place(calls: Calls, objects: Objects) -> str:
    """Make sure that the place is this store's, before the first payload goes there; return the id of both. Idempotent.

    A crash leaves a claim that the next call completes.

    Raises:
        StoreUnsafe: The place is another store's, or this store has another place.
    """
    await calls.command("HSETNX", PAYLOADS_PLACE, "id", secrets.token_hex(16))
    await calls.command("HSETNX", PAYLOADS_PLACE, "place", objects.place)
    claim = await _read(calls)
    mark = await objects.get(MARK)
    if mark is None:
        if claim.marked or claim.place != objects.place:
            raise _unmarked(objects, claim)
        await objects.put_new(MARK, claim.id.encode())
        mark = await objects.get(MARK)
    if mark is None or mark.decode(errors="replace") != claim.id:
        raise _anothers(objects)
    if (claim.place, claim.marked) != (objects.place, True):  # another path to the same place, or it has moved
        await calls.command("HSET", PAYLOADS_PLACE, "place", objects.place, "marked", 1)
    return claim.id


async def _read(calls: Calls) -> _Claim:
    found = await calls.command("HMGET", PAYLOADS_PLACE, "id", "place", "marked")
    stored_id, place, marked = ((value or b"").decode() for value in found)
    return _Claim(id=stored_id, place=place, marked=bool(marked))


def _anothers(objects: Objects) -> StoreUnsafe:
    return StoreUnsafe(
        f"{objects.place} holds the payloads of another store, or of this one before it was emptied: give each store a "
        f"prefix of its own (--blob-url); delete the old one, with its object {MARK}, when nothing needs it any more"
    )


def _unmarked(objects: Objects, claim: _Claim) -> StoreUnsafe:
    return StoreUnsafe(
        f"the store's payloads are kept in {claim.place}, and {objects.place} has no object {MARK} that says they are "
        "here: correct --blob-url, mount the folder, or copy everything there first"
    )
