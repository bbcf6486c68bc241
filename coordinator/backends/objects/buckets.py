"""Objects in a bucket: of S3 and what speaks its protocol, Google Cloud Storage or Azure. All that knows obstore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from alignfed.errors import StoreUnreachable
from coordinator.backends.objects.objects import StoredFolder
from coordinator.backends.objects.place import PayloadPlace

CONNECT_TIMEOUT = "5s"
REQUEST_TIMEOUT = "20s"
"""For one request; a megabyte takes a fraction of a second."""

RETRIES: dict[str, Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
"""Bridges a dropped connection or a request to slow down, not an outage: agents keep their deltas and try again."""

LIST_BATCH = 1000
"""What one request lists, and what one request deletes."""

_AFTER_ALL_PARTS = "~"  # sorts after every digit
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")


class BucketObjects:
    """Implements `coordinator.backends.objects.objects.Objects` below one prefix of one bucket."""

    def __init__(self, place: PayloadPlace) -> None:
        self.place = place.url
        self._store = _open(place)

    async def put(self, name: str, data: bytes) -> None:
        """See the protocol: an object store answers once the object is durable."""
        with self._translated():
            await obstore.put_async(self._store, name, data, use_multipart=False)

    async def put_new(self, name: str, data: bytes) -> bool:
        """See the protocol."""
        with self._translated():
            try:
                await obstore.put_async(self._store, name, data, use_multipart=False, mode="create")
            except AlreadyExistsError:
                return False
            return True

    async def get(self, name: str) -> bytes | None:
        """See the protocol."""
        with self._translated():
            try:
                found = await obstore.get_async(self._store, name)
                return bytes(await found.bytes_async())
            except FileNotFoundError as error:
                if any(sign in str(error) for sign in _NO_BUCKET):
                    raise
                return None

    async def delete_folder(self, folder: str) -> None:
        """See the protocol."""
        with self._translated():
            async for found in obstore.list(self._store, prefix=f"{folder}/", chunk_size=LIST_BATCH):
                try:
                    await obstore.delete_async(self._store, [item["path"] for item in found])
                except FileNotFoundError as error:  # some stores say so of what a rival has deleted
                    if any(sign in str(error) for sign in _NO_BUCKET):
                        raise

    async def folders(self, *, after: str, limit: int) -> Sequence[StoredFolder]:
        """See the protocol."""
        offset = f"{after}/{_AFTER_ALL_PARTS}" if after else None
        found: dict[str, float] = {}
        with self._translated():
            async for items in obstore.list(self._store, offset=offset, chunk_size=limit):
                for item in items:
                    name, slash, _ = item["path"].rpartition("/")
                    if slash:
                        found[name] = max(item["last_modified"].timestamp(), found.get(name, 0.0))
                if found:  # what stands before the first folder is the mark of this place
                    break
        return [StoredFolder(name=name, modified_at=modified_at) for name, modified_at in found.items()]

    async def close(self) -> None:
        """See the protocol: its connections end with it."""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise StoreUnreachable(
                f"{self.place} refuses this process ({_first_line(error)}): see its credentials, which come from the "
                "environment, and their right to get, put, list and delete objects"
            ) from error
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise StoreUnreachable(
                f"{self.place} does not answer as it should ({_first_line(error)}): see that the bucket exists, and "
                "that region and endpoint are right"
            ) from error


def _open(place: PayloadPlace) -> ObjectStore:
    endpoint = place.options.get("endpoint", "")
    settings: dict[str, Any] = {name: value for name, value in place.options.items() if value}
    client = {
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
        "allow_http": endpoint.startswith("http://"),
    }
    opened: ObjectStore = from_url(place.url, client_options=client, retry_config=RETRIES, **settings)  # type: ignore[call-overload]
    return opened


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
