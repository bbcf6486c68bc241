"""Objects as files: one per object, durable before it has its name.

The library of the other object stores has files too, but does not force them to the disk, and what a crash leaves of
its writes it never lists again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from alignfed.errors import StoreFull, StoreUnreachable
from coordinator.backends.objects.objects import StoredFolder

T = TypeVar("T")

THREADS = 16
"""Files written or read at once: what is waited for is the disk."""

_DELETIONS = 10
_FULL = (errno.ENOSPC, errno.EDQUOT)
_TRIES = 5
"""How often a write makes its folder again that a deletion takes away at the same moment."""


class FileObjects:
    """Implements `coordinator.backends.objects.objects.Objects` in a folder, which is made when first written to."""

    def __init__(self, root: Path) -> None:
        self.place = root.as_uri()
        self._root = root
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="payload-files")

    async def put(self, name: str, data: bytes) -> None:
        """See the protocol."""
        await self._run(lambda: self._write(name, data, os.replace))

    async def put_new(self, name: str, data: bytes) -> bool:
        """See the protocol."""
        try:
            await self._run(lambda: self._write(name, data, os.link))
        except FileExistsError:
            return False
        return True

    async def get(self, name: str) -> bytes | None:
        """See the protocol."""
        with contextlib.suppress(FileNotFoundError):
            return await self._run((self._root / name).read_bytes)
        return None

    async def delete_folder(self, folder: str) -> None:
        """See the protocol."""
        await self._run(lambda: self._delete(self._root / folder))

    async def folders(self, *, after: str, limit: int) -> Sequence[StoredFolder]:
        """See the protocol."""
        return await self._run(lambda: list(self._folders(after, limit)))

    async def close(self) -> None:
        """See the protocol."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(
                    f"the disk of the payloads is full ({error}): make room, or merge and sweep sooner"
                ) from error
            raise StoreUnreachable(
                f"the payloads in {self.place} cannot be reached ({error}): see that it is mounted, and writable here"
            ) from error

    def _write(self, name: str, data: bytes, publish: Callable[[Path, Path], None]) -> None:
        target = self._root / name
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):
                self._make(target.parent)
                partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
                try:
                    _write_durably(partial, data)
                    publish(partial, target)
                finally:
                    partial.unlink(missing_ok=True)
                return _force(target.parent)
        raise StoreUnreachable(f"the folder of {target} goes as soon as it is made: try again")

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, each durable before anything is in it."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        _force(folder.parent)

    def _delete(self, folder: Path) -> None:
        for _ in range(_DELETIONS):  # something may arrive while the folder is emptied
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
        else:  # or a right is missing, which this says
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another folder of the same blob is there, or nothing is
            folder.parent.rmdir()

    def _folders(self, after: str, limit: int) -> Iterator[StoredFolder]:
        if not self._root.is_dir():
            return
        count = 0
        after_blob, _, after_folder = after.partition("/")
        for blob in sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir()):
            if blob < after_blob:
                continue
            folders = _names(self._root / blob)
            if not folders:  # a process stopped between two steps; nothing else would ever find it
                with contextlib.suppress(OSError):
                    (self._root / blob).rmdir()
            for folder in folders:
                if (blob, folder) <= (after_blob, after_folder):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    modified_at = (self._root / blob / folder).stat().st_mtime
                    yield StoredFolder(name=f"{blob}/{folder}", modified_at=modified_at)
                count += 1
                if count == limit:
                    return


def _write_durably(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _force(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
