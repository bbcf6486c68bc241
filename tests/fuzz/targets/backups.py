"""Backup files: whatever a file says, it is refused with a reason or restored into a store that owns all it holds."""

from __future__ import annotations

import asyncio
import functools
import io
import random
import tarfile
import tempfile
from pathlib import Path

from coordinator.backup.checking import opened_backup
from coordinator.backup.container import LAST, ContainerWriter, Member, read_members
from coordinator.backup.progress import Progress
from coordinator.backup.restoring import restore_backup
from coordinator.backup.writing import write_backup
from coordinator.clock import SystemClock
from tests.fuzz.mutations import EDGE_INTEGERS, EDGE_TEXTS, frame, mutate_bytes, mutate_json, unframe
from tests.fuzz.target import Target
from tests.support.stores import open_memory_store, publish, seed_federation, submit

_QUIET = Progress(lambda _line: None, SystemClock())
_MOST_MEMBERS = 40
_BLOCK = tarfile.BLOCKSIZE
_SIZE_FIELD = slice(124, 136)


def seeds() -> list[bytes]:
    """Return the members of a backup, name and content in turn, after patches of the file (none)."""
    return [frame([b"", *_members()])]


@functools.cache
def _members() -> tuple[bytes, ...]:
    path = Path(_holder().name) / "sound.backup"
    _loop().run_until_complete(_back_up(path))
    with path.open("rb") as file:
        found, _ = read_members(file, passed=lambda _count: None)
        return tuple(part for member in found[:-1] for part in (member.name.encode(), _content(file, member)))


async def _back_up(path: Path) -> None:
    store = open_memory_store()
    name = (await seed_federation(store, agents=("agent-1", "agent-2"))).federation
    await publish(store, name)
    await submit(store, name)
    await write_backup(store, [name], path, clock=SystemClock(), progress=_QUIET)


def _content(file: io.BufferedReader, member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.size_bytes)


def mutate(data: bytes, rng: random.Random) -> bytes:
    patches, *parts = unframe(data, most=2 * _MOST_MEMBERS + 1) or [b""]
    change = rng.random()
    if change < 0.15 or len(parts) < 2:
        return frame([frame([*unframe(patches, most=8), _patch(rng)]), *parts])
    place = 2 * rng.randrange(len(parts) // 2)
    if change < 0.85:
        parts[place + 1] = _spoilt(parts[place + 1], rng)
    elif change < 0.9:
        parts[place] = rng.choice(EDGE_TEXTS).encode("utf-8", "ignore")
    elif change < 0.95:
        del parts[place : place + 2]
    else:
        parts[place:place] = parts[place : place + 2]
    return frame([patches, *parts])


def _spoilt(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    where = rng.randrange(len(lines))
    lines[where] = mutate_json(lines[where], rng) if lines[where].startswith(b"{") else mutate_bytes(lines[where], rng)
    return b"\n".join(lines)


def _patch(rng: random.Random) -> bytes:
    """Return a place in the file and what to write there: often a member's size, which decides how much is read."""
    place = rng.randrange(60) * _BLOCK + (_SIZE_FIELD.start if rng.random() < 0.7 else rng.randrange(_BLOCK))
    size = rng.choice(EDGE_INTEGERS)
    octal, binary = b"%011o\0" % (abs(size) % 8**11), b"\x80" + (size % 2**88).to_bytes(11, "big")
    negative = b"\xff" + (size % 2**88).to_bytes(11, "big")
    return place.to_bytes(4, "big") + rng.choice((octal, binary, negative, rng.randbytes(6)))


def check(data: bytes) -> str:
    patches, *parts = unframe(data, most=2 * _MOST_MEMBERS + 1) or [b""]
    path = Path(_holder().name) / "hostile.backup"
    path.write_bytes(_patched(_container(parts), unframe(patches, most=8)))
    return _loop().run_until_complete(_restored(path))


async def _restored(path: Path) -> str:
    store = open_memory_store()
    with opened_backup(path, _QUIET) as backup:
        names = list(backup.federations)
        await restore_backup(store, backup, names, clock=SystemClock(), progress=_QUIET)
    assert sorted(await store.federations.names()) == sorted(names)
    for name in names:
        await store.blobs.sweep(name, unclaimed_before=float("inf"))
        await store.versions.head(name)
    return f"restored {min(len(names), 2)}"


def _container(parts: list[bytes]) -> bytes:
    """Return a file whose digests are right, whatever its members are."""
    file = io.BytesIO()
    writer = ContainerWriter(file)
    names = []
    for name, content in zip(parts[::2], parts[1::2], strict=False):
        names.append(name.decode("ascii", "ignore")[:90] or "x")
        writer.write(names[-1], content)
    if LAST not in names:
        writer.finish(federations=[])
    return file.getvalue()


def _patched(file: bytes, patches: list[bytes]) -> bytes:
    """Return the file with bytes replaced; a header's checksum is made right again, so that it is read."""
    spoiled = bytearray(file)
    for patch in patches:
        place = int.from_bytes(patch[:4], "big") % max(len(spoiled), 1)
        spoiled[place : place + len(patch) - 4] = patch[4:][: len(spoiled) - place]
        start = place - place % _BLOCK
        block = spoiled[start : start + _BLOCK]
        if len(block) == _BLOCK and block[257:262] == b"ustar":
            block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
            spoiled[start : start + _BLOCK] = block
    return bytes(spoiled)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@functools.cache
def _holder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="alignfed-fuzz-")


TARGET = Target(name="backups", seeds=seeds, mutate=mutate, check=check)
