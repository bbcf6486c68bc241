"""What the store gives back: a record that AlignFed could have written, or StoreCorrupt."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from alignfed.plan import Encoding
from coordinator.backends.redis import records
from coordinator.domain import (
    BlobRef,
    DeadLetter,
    DeltaRecord,
    FederationRecord,
    QueuedDelta,
    VersionId,
    VersionKind,
    VersionRecord,
)
from tests.fuzz.mutations import frame, mutate_bytes, mutate_json, unframe
from tests.fuzz.target import Target
from tests.support.stores import NOW, merge_record, new_agent, new_plan

_ID = VersionId(epoch=3, number=5, digest="ab" * 32)
_BLOB = BlobRef(blob_id="delta.fed.agent-1.x", total_bytes=100, part_bytes=64, sha256="cd" * 32)
_DELTA = DeltaRecord(
    federation="fed",
    agent_id="agent-1",
    delta_id="delta-1",
    base=_ID,
    examples=8,
    local_steps=4,
    encoding=Encoding.BF16,
    rank=2,
    payload=_BLOB,
    accepted_at=NOW,
    trace_context="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
_VERSION = VersionRecord(
    id=_ID,
    kind=VersionKind.MERGE,
    parent=4,
    adapter=_BLOB,
    average=_BLOB,
    state=_BLOB,
    served_average=True,
    merge=merge_record([QueuedDelta(entry_id="1-0", delta=_DELTA, attempts=1)]),
    created_at=NOW,
)


def seeds() -> list[bytes]:
    federation = FederationRecord(plan=new_plan("fed"), calibration=_BLOB, created_at=NOW)
    letter = DeadLetter(delta=_DELTA, detail="three tries", buried_at=NOW)
    written: list[tuple[str, str]] = [
        (records.dump_delta(_DELTA), ""),
        (records.dump_version(_VERSION), f"3:{_ID.digest}:0"),
        (records.dump_federation(federation), ""),
        (records.dump_agent(new_agent()), str(NOW)),
        (records.dump_receipt(_DELTA), records.merged_outcome(_ID)),
        (records.dump_receipt(_DELTA), records.rejected_outcome("NON_FINITE", "why")),
        (records.dump_dead_letter(letter), ""),
        ("", records.dump_identity(_ID)),
    ]
    kinds = (0, 1, 2, 3, 4, 4, 5, 6)
    return [
        frame([bytes((kind,)), *(part.encode() for part in parts)]) for kind, parts in zip(kinds, written, strict=True)
    ]


def mutate(data: bytes, rng: random.Random) -> bytes:
    kind, body, beside = (*unframe(data, most=3), b"", b"", b"")[:3]
    if beside and (not body or rng.random() < 0.3):
        spoil = mutate_json if beside.startswith(b"{") else mutate_bytes
        return frame([kind, body, spoil(beside, rng)])
    return frame([kind, mutate_json(body, rng), beside])


def check(data: bytes) -> str:
    kind, body, beside = (*unframe(data, most=3), b"", b"", b"")[:3]
    name, read = _READS[kind[0] % len(_READS) if kind else 0]
    read(body, beside)
    return f"{name} read"


def _delta(body: bytes, _beside: bytes) -> None:
    delta = records.load_delta(body)
    _assert_written_again(delta, records.dump_delta, records.load_delta)
    assert delta.payload.parts >= 0


def _version(body: bytes, beside: bytes) -> None:
    version = records.load_version(5, body, beside)
    lineage = f"{version.id.epoch}:{version.id.digest}:{int(version.abandoned)}"
    _assert_written_again(version, records.dump_version, lambda again: records.load_version(5, again, lineage))
    assert version.adapter.parts >= 0


def _federation(body: bytes, _beside: bytes) -> None:
    record = records.load_federation(body, paused=False)
    _assert_written_again(record, records.dump_federation, lambda again: records.load_federation(again, paused=False))


def _agent(body: bytes, beside: bytes) -> None:
    records.load_agent("agent-1", body, registered_at=beside, last_seen_at=beside, revoked=False)


def _receipt(body: bytes, beside: bytes) -> None:
    records.load_receipt("delta-1", body, beside or None)


def _dead_letter(body: bytes, _beside: bytes) -> None:
    _assert_written_again(records.load_dead_letter(body), records.dump_dead_letter, records.load_dead_letter)


def _identity(_body: bytes, beside: bytes) -> None:
    version = records.load_identity(beside)
    assert records.load_identity(records.dump_identity(version)) == version


def _assert_written_again(value: Any, dump: Callable[[Any], str], load: Callable[[str], Any]) -> None:
    """A value that was read survives being written; NaN is not equal to itself, and is never written."""
    assert repr(load(dump(value))) == repr(value)


_READS: tuple[tuple[str, Callable[[bytes, bytes], None]], ...] = (
    ("delta", _delta), ("version", _version), ("federation", _federation), ("agent", _agent), ("receipt", _receipt),
    ("dead letter", _dead_letter), ("identity", _identity),
)  # fmt: skip

TARGET = Target(name="records", seeds=seeds, mutate=mutate, check=check)
