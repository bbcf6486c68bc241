"""The file of a backup: an uncompressed tar whose first member names the format and whose last has every digest.

    alignfed-backup.json            {"format": "alignfed-backup", "version": 1, "software": ..., "created_at": ...}
    FEDERATION/payloads/000000 ...  payloads, as bytes
    FEDERATION/payloads.jsonl       one line per payload: its name in the store, size, SHA-256, how long it is kept
    FEDERATION/versions.jsonl, receipts.jsonl, queue.jsonl, dead-letters.jsonl, agents.jsonl, contributions.jsonl
    FEDERATION/federation.json      plan, calibration set, head, newest fencing token
    manifest.json                   {"members": [{"name", "bytes", "sha256"}, ...], "federations": [...]}

`tar -tvf` lists it and `sha256sum` confirms it. Members are written and read as streams, in constant memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from alignfed.errors import BackupCorrupt, BackupForeign, BackupTooNew, BackupTruncated

FORMAT = "alignfed-backup"
FORMAT_VERSION = 1
FIRST = f"{FORMAT}.json"
LAST = "manifest.json"

BLOCK_BYTES = tarfile.BLOCKSIZE
READ_BYTES = 1 << 20
MAX_MEMBER_BYTES = 1 << 50
"""Headers can name sizes below zero, and beyond what any file system holds."""
MAX_FIRST_BYTES = 1 << 16
"""The first member is read whole before anything is known of the file."""

Write = Callable[[bytes], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member whose content begins at `offset` bytes into the file."""

    name: str
    offset: int
    size_bytes: int
    sha256: str


class ContainerWriter:
    """Writes members one after the other; sizes need not be known before.

    Args:
        file: Empty, and able to seek: a member's header is written once its content is.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members: list[Member] = []

    @property
    def written_bytes(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    @contextmanager
    def member(self, name: str) -> Iterator[Write]:
        """Yield the function that writes the member's content."""
        start = self._file.tell()
        self._file.write(bytes(BLOCK_BYTES))
        digest = hashlib.sha256()

        def write(data: bytes) -> None:
            digest.update(data)
            self._file.write(data)

        yield write
        size_bytes = self._file.tell() - start - BLOCK_BYTES
        self._file.write(bytes(-size_bytes % BLOCK_BYTES))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_header(name, size_bytes))
        self._file.seek(end)
        self._members.append(
            Member(name=name, offset=start + BLOCK_BYTES, size_bytes=size_bytes, sha256=digest.hexdigest())
        )

    def write(self, name: str, content: bytes) -> None:
        """Write a whole member."""
        with self.member(name) as write:
            write(content)

    @property
    def last(self) -> Member:
        """The member written last."""
        return self._members[-1]

    def mark(self) -> tuple[int, int]:
        """Return where the file is, for `rewind`."""
        return self._file.tell(), len(self._members)

    def rewind(self, mark: tuple[int, int]) -> None:
        """Forget every member that was written, or begun, since `mark`."""
        offset, count = mark
        self._file.seek(offset)
        self._file.truncate()
        del self._members[count:]

    def finish(self, **facts: Any) -> None:
        """Write the manifest, with `facts` for people, and the end of the archive."""
        listed = [{"name": m.name, "bytes": m.size_bytes, "sha256": m.sha256} for m in self._members]
        self.write(LAST, as_json({"members": listed, **facts}))
        self._file.write(bytes(2 * BLOCK_BYTES))


def as_json(value: object) -> bytes:
    """Return plain values as compact JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def read_members(file: BinaryIO, *, passed: Callable[[int], None]) -> tuple[list[Member], dict[str, Any]]:
    """Read a whole backup, check every byte of its members, and return them and the manifest's facts.

    Args:
        file: At its start.
        passed: Told how many bytes were read, as they are.

    Raises:
        BackupForeign: It is no backup of ours.
        BackupTooNew: Its format is newer than this AlignFed.
        BackupTruncated: It ends too soon.
        BackupCorrupt: Its bytes are not the ones that were written.
    """
    _check_first(file)
    file.seek(0)
    found: list[Member] = []
    while not found or found[-1].name != LAST:
        found.append(_read_member(file, passed))
    manifest = _manifest(file, found[-1])
    listed = [(item.get("name"), item.get("bytes"), item.get("sha256")) for item in manifest.pop("members")]
    for expected, member in zip(listed, found[:-1], strict=False):
        if expected != (member.name, member.size_bytes, member.sha256):
            raise damaged(f"member {member.name} is not what was written: its SHA-256, size or name differs")
    if len(listed) != len(found) - 1:
        raise damaged(f"{len(found) - 1} members were found where {len(listed)} were written")
    _check_end(file)
    return found, manifest


def damaged(what: str) -> BackupCorrupt:
    """Return the error for a backup that contradicts itself."""
    return BackupCorrupt(f"the backup is damaged: {what}. Use another copy of it, or an older backup")


def _header(name: str, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size_bytes, 0o600, 0
    return info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _check_first(file: BinaryIO) -> None:
    """Check that the file is a backup of a format that is known here."""
    start = file.read(BLOCK_BYTES)
    if not start.startswith(FIRST.encode() + b"\0"):
        raise BackupForeign("the file is not a backup of `alignfed backup`: it does not begin like one")
    if len(start) < BLOCK_BYTES:
        raise _ends_early(0)
    size_bytes = _parsed_header(start, 0).size
    content = file.read(min(size_bytes, MAX_FIRST_BYTES))
    if len(content) < size_bytes <= MAX_FIRST_BYTES:
        raise _ends_early(BLOCK_BYTES)
    facts = parsed(content, FIRST)
    if facts.get("format") != FORMAT or not isinstance(facts.get("version"), int):
        raise damaged(f"{FIRST} does not name its format")
    if facts["version"] > FORMAT_VERSION:
        raise BackupTooNew(
            f"the backup has format {facts['version']}, this AlignFed knows formats up to {FORMAT_VERSION}: restore it "
            f"with AlignFed {facts.get('software', 'of the version that wrote it')} or newer"
        )


def _read_member(file: BinaryIO, passed: Callable[[int], None]) -> Member:
    start = file.tell()
    block = file.read(BLOCK_BYTES)
    if len(block) < BLOCK_BYTES or not any(block):
        raise _ends_early(start)
    info = _parsed_header(block, start)
    digest = hashlib.sha256()
    left = info.size
    while left:
        data = file.read(min(left, READ_BYTES))
        if not data:
            raise _ends_early(start)
        digest.update(data)
        left -= len(data)
        passed(len(data))
    if len(file.read(-info.size % BLOCK_BYTES)) < -info.size % BLOCK_BYTES:
        raise _ends_early(start)
    return Member(name=info.name, offset=start + BLOCK_BYTES, size_bytes=info.size, sha256=digest.hexdigest())


def _parsed_header(block: bytes, offset: int) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:  # a name that is no ASCII too
        raise damaged(f"the header at byte {offset:,} is unreadable ({error})") from error
    if not 0 <= info.size <= MAX_MEMBER_BYTES:
        raise damaged(f"the header at byte {offset:,} announces {info.size:,} bytes")
    return info


def _manifest(file: BinaryIO, member: Member) -> dict[str, Any]:
    after = file.tell()
    file.seek(member.offset)
    manifest = parsed(file.read(member.size_bytes), LAST)
    file.seek(after)
    members = manifest.get("members")
    if not isinstance(members, list) or not all(isinstance(item, dict) for item in members):
        raise damaged(f"{LAST} lists no members")
    return manifest


def _check_end(file: BinaryIO) -> None:
    end = file.read(2 * BLOCK_BYTES + 1)
    if any(end) or len(end) > 2 * BLOCK_BYTES:
        raise damaged("something follows its end")
    if len(end) < 2 * BLOCK_BYTES:
        raise _ends_early(file.tell())


def parsed(content: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object that a member or a line of one holds.

    Raises:
        BackupCorrupt: It holds none.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8, or nested too deep, too
        raise damaged(f"{name} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise damaged(f"{name} is not a JSON object")
    return values


def _ends_early(offset: int) -> BackupTruncated:
    return BackupTruncated(
        f"the backup ends before its end (in what begins at byte {offset:,}): it was copied incompletely, or the disk "
        "was full. Copy it again"
    )
