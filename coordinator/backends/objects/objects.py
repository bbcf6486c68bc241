"""What the backend needs of an object store, whichever it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredFolder:
    """A folder of parts that was found: its name, `blob id/folder`, and when it last changed (Unix seconds)."""

    name: str
    modified_at: float


class Objects(Protocol):
    """Objects by name, `blob id/folder/index`; whole or not there.

    Every method may raise StoreUnreachable (trying again may help) or StoreFull (of a disk).
    """

    place: str
    """Where they are, for people and for telling places apart; without options and credentials."""

    async def put(self, name: str, data: bytes) -> None:
        """Store an object durably: after this it survives a crash of its server. Replaces one of that name.

        A crash leaves the old one, and maybe something in the object's folder that goes with the folder.
        """
        ...

    async def put_new(self, name: str, data: bytes) -> bool:
        """Store an object unless there is one of this name; return whether there was none. Atomic."""
        ...

    async def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none."""
        ...

    async def delete_folder(self, folder: str) -> None:
        """Delete all objects of a folder. Idempotent; a crash leaves some of them. What arrives meanwhile may stay."""
        ...

    async def folders(self, *, after: str, limit: int) -> Sequence[StoredFolder]:
        """Return some folders that come after `after` (empty: from the first on) in an order that does not change.

        Looks at about `limit` objects or folders. Returns nothing at the end.
        """
        ...

    async def close(self) -> None:
        """Release threads and connections. Idempotent."""
        ...
