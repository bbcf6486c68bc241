"""Reads a backup and trusts nothing in it: digests first, then every record, then what records say of each other."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from alignfed.errors import PlanInvalid, RequestInvalid
from coordinator.backup import records
from coordinator.backup.container import FIRST, LAST, Member, damaged, read_members
from coordinator.backup.progress import Progress
from coordinator.backup.records import AgentShare, FederationFacts, StoredPayload, load, values
from coordinator.domain import AgentRecord, BlobRef, DeadLetter, QueuePlace, Receipt, VersionRecord


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """A checked backup: its file, open, where each member is, and the federations in it."""

    file: BinaryIO
    members: Mapping[str, Member]
    federations: Mapping[str, FederationFacts]

    def member(self, federation: str, name: str) -> Member:
        """Return one of a federation's members."""
        return self.members[f"{federation}/{name}"]

    def payloads(self, federation: str) -> Iterator[StoredPayload]:
        """Yield the list of a federation's payloads."""
        return values(self.file, self.member(federation, records.PAYLOADS), StoredPayload)


@contextlib.contextmanager
def opened_backup(path: Path, progress: Progress) -> Iterator[BackupFile]:
    """Check a whole backup and yield it.

    Raises:
        BackupForeign, BackupTooNew, BackupTruncated, BackupCorrupt: It cannot be used; the message says why.
        RequestInvalid: The file cannot be read.
    """
    read_bytes = 0

    def passed(count: int) -> None:
        nonlocal read_bytes
        read_bytes += count
        progress.tell(f"checking {path.name}", read_bytes)

    try:
        file = path.open("rb")
    except OSError as error:
        raise RequestInvalid(f"{path} cannot be read ({error}): name a file that `alignfed backup` wrote") from error
    with file:
        found, _ = read_members(file, passed=passed)
        members = {member.name: member for member in found}
        if len(members) != len(found):
            raise damaged("two members have one name")
        names = sorted({name.partition("/")[0] for name in members if name not in (FIRST, LAST)})
        facts = {name: _facts(file, members, name) for name in names}
        backup = BackupFile(file=file, members=members, federations=facts)
        for name in names:
            _check_federation(backup, name)
        yield backup


def _facts(file: BinaryIO, members: Mapping[str, Member], federation: str) -> FederationFacts:
    for name in records.RECORD_MEMBERS:
        if f"{federation}/{name}" not in members:
            raise damaged(f"{federation} lacks {name}")
    member = members[f"{federation}/{records.FEDERATION}"]
    file.seek(member.offset)
    facts = load(FederationFacts, file.read(member.size_bytes), member.name)
    if facts.record.plan.federation != federation:
        raise damaged(f"{member.name} is of another federation")
    try:
        facts.record.plan.validate()
    except PlanInvalid as error:
        raise damaged(f"the plan of {federation} breaks a rule ({error})") from error
    return facts


def _check_federation(backup: BackupFile, federation: str) -> None:
    """Check that everything reads, and that what must have a payload has one."""
    payloads = {payload.blob_id: payload for payload in backup.payloads(federation)}
    for payload in payloads.values():
        member = backup.members.get(payload.member)
        if member is None or (member.size_bytes, member.sha256) != (payload.total_bytes, payload.sha256):
            raise damaged(f"payload {payload.blob_id} of {federation} is not the one that is listed")
        if payload.total_bytes and payload.part_bytes <= 0:
            raise damaged(f"payload {payload.blob_id} of {federation} has no parts")
    _check_versions(backup, federation, payloads)
    waiting = [entry.delta for entry in _all(backup, federation, records.QUEUE, QueuePlace)]
    waiting += [letter.delta for letter in _all(backup, federation, records.DEAD_LETTERS, DeadLetter)]
    for delta in waiting:
        _check_payload(payloads, delta.payload)
    calibration = backup.federations[federation].record.calibration
    if calibration is not None:
        _check_payload(payloads, calibration)
    missing = {delta.delta_id for delta in waiting}
    for receipt in _all(backup, federation, records.RECEIPTS, Receipt):
        missing.discard(receipt.delta_id)
    if missing:
        raise damaged(f"delta {min(missing)} of {federation} waits without a receipt")
    for _ in _all(backup, federation, records.AGENTS, AgentRecord):
        pass
    for _ in _all(backup, federation, records.CONTRIBUTIONS, AgentShare):
        pass


def _check_versions(backup: BackupFile, federation: str, payloads: Mapping[str, StoredPayload]) -> None:
    """Check that versions are numbered from 0 to the head, and that the head's adapter is there."""
    head, number, newest = backup.federations[federation].head, -1, None
    for newest in _all(backup, federation, records.VERSIONS, VersionRecord):  # the last one is wanted
        number += 1
        if newest.id.number != number:
            raise damaged(f"version {number} of {federation} is missing")
    if newest is None or newest.id != head:
        raise damaged(f"the newest version of {federation} is not its head")
    _check_payload(payloads, newest.adapter)


def _check_payload(payloads: Mapping[str, StoredPayload], blob: BlobRef) -> None:
    payload = payloads.get(blob.blob_id)
    if payload is None or (payload.sha256, payload.total_bytes) != (blob.sha256, blob.total_bytes):
        raise damaged(f"payload {blob.blob_id} is missing, or another one")


def _all(backup: BackupFile, federation: str, name: str, kind: type[records.T]) -> Iterator[records.T]:
    return values(backup.file, backup.member(federation, name), kind)
