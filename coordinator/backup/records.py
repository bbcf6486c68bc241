"""What stands in the members of a backup: domain values as JSON, one per line."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeVar

from alignfed.plain import PlainValueError, from_plain
from coordinator.backup.container import READ_BYTES, Member, as_json, damaged, parsed
from coordinator.domain import Contribution, FederationRecord, VersionId, VersionRecord, to_json, version_values

T = TypeVar("T")

FEDERATION = "federation.json"
PAYLOADS = "payloads.jsonl"
VERSIONS = "versions.jsonl"
RECEIPTS = "receipts.jsonl"
QUEUE = "queue.jsonl"
DEAD_LETTERS = "dead-letters.jsonl"
AGENTS = "agents.jsonl"
CONTRIBUTIONS = "contributions.jsonl"
RECORD_MEMBERS = (PAYLOADS, VERSIONS, RECEIPTS, QUEUE, DEAD_LETTERS, AGENTS, CONTRIBUTIONS, FEDERATION)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FederationFacts:
    """What a backup says of a federation as a whole; `epoch` is its newest fencing token."""

    record: FederationRecord
    head: VersionId
    epoch: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredPayload:
    """A payload: `member` has its bytes; `kept_until` is the head number that frees it, None while it is needed."""

    member: str
    blob_id: str
    total_bytes: int
    part_bytes: int
    sha256: str
    kept_until: float | None

    @property
    def until(self) -> float:
        """The head number from which it may be deleted, infinite while it is needed."""
        return math.inf if self.kept_until is None else self.kept_until


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentShare:
    """What one agent has contributed."""

    agent_id: str
    contribution: Contribution


def payload_member(federation: str, index: int) -> str:
    """Return the name of the member that holds the payload number `index`, from 0."""
    return f"{federation}/payloads/{index:06d}"


def dump(value: Any) -> bytes:
    """Return a dataclass as a line of JSON."""
    return as_json(to_json(value)) + b"\n"


def dump_version(version: VersionRecord) -> bytes:
    """Return a version as a line of JSON."""
    return as_json(version_values(version)) + b"\n"


def load(kind: type[T], content: bytes, name: str) -> T:
    """Return the value that a line of JSON of the member `name` holds.

    Raises:
        BackupCorrupt: It does not fit.
    """
    try:
        return from_plain(kind, parsed(content, name))
    except PlainValueError as error:
        raise damaged(f"{name} holds a {kind.__name__} that cannot be read ({error})") from error


def lines(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the lines of a member, read piece by piece; the file may be moved about between two of them."""
    position, end, rest = member.offset, member.offset + member.size_bytes, b""
    while position < end:
        file.seek(position)
        data = file.read(min(READ_BYTES, end - position))
        if not data:
            raise damaged(f"{member.name} is shorter than it was")
        position += len(data)
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
    if rest:
        raise damaged(f"{member.name} does not end with a line")


def values(file: BinaryIO, member: Member, kind: type[T]) -> Iterator[T]:
    """Yield the values of a member.

    Raises:
        BackupCorrupt: A line does not fit.
    """
    for line in lines(file, member):
        yield load(kind, line, member.name)
