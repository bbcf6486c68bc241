"""Domain values to and from what the store holds: JSON, and `epoch:number:digest` for what scripts compare."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar

from alignfed.errors import StoreCorrupt
from alignfed.plain import PlainValueError, from_plain
from alignfed.tracing.context import sound_traceparent
from coordinator.domain import (
    AgentRecord,
    DeadLetter,
    DeltaRecord,
    DeltaState,
    FederationRecord,
    Receipt,
    VersionId,
    VersionRecord,
    to_json,
)

T = TypeVar("T")

Stored = str | bytes
_VERSION_OUTSIDE_BODY = ("id", "abandoned")
_TRACE_CONTEXT = "trace_context"
_AGENT_OUTSIDE_CAPABILITIES = ("agent_id", "registered_at", "last_seen_at", "revoked")


def dump(value: Any) -> str:
    """Return plain values as compact JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def load(stored: Stored) -> dict[str, Any]:
    """Return the object that JSON text holds.

    Raises:
        StoreCorrupt: It is not a JSON object.
    """
    try:
        values = json.loads(stored)
    except ValueError as error:
        raise StoreCorrupt(f"the store holds a record that is not JSON ({error}): restore it from a backup") from error
    if not isinstance(values, dict):
        raise StoreCorrupt("the store holds a record that is not a JSON object: restore it from a backup")
    return values


def build(kind: type[T], values: dict[str, Any]) -> T:
    """Return the domain value that plain values describe.

    Raises:
        StoreCorrupt: They do not fit.
    """
    try:
        return from_plain(kind, values)
    except PlainValueError as error:
        raise StoreCorrupt(
            f"the store holds a {kind.__name__} that this AlignFed version cannot read: {error}"
        ) from error


def dump_identity(version: VersionId) -> str:
    """Return `epoch:number:digest`."""
    return f"{version.epoch}:{version.number}:{version.digest}"


def load_identity(stored: Stored) -> VersionId:
    """Return the identity that `epoch:number:digest` names.

    Raises:
        StoreCorrupt: It is malformed.
    """
    text = stored.decode() if isinstance(stored, bytes) else stored
    epoch, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if not (epoch.isdecimal() and number.isdecimal()):
        raise StoreCorrupt(f"the store holds {text!r} where a version's identity is due: restore it from a backup")
    return VersionId(epoch=int(epoch), number=int(number), digest=digest)


def dump_federation(record: FederationRecord) -> str:
    """Return a federation without its pause state, which changes."""
    values = to_json(record)
    del values["paused"]
    return dump(values)


def load_federation(stored: Stored, *, paused: bool) -> FederationRecord:
    """Return a federation from its record and pause state."""
    return build(FederationRecord, {**load(stored), "paused": paused})


def dump_version(version: VersionRecord) -> str:
    """Return a version's body: all of it but identity and being abandoned."""
    values = to_json(version)
    for key in _VERSION_OUTSIDE_BODY:
        del values[key]
    return dump(values)


def load_version(number: int, body: Stored, lineage: Stored) -> VersionRecord:
    """Return a version from its body and its lineage, `epoch:digest:abandoned`."""
    text = lineage.decode() if isinstance(lineage, bytes) else lineage
    epoch, _, rest = text.partition(":")
    digest, _, abandoned = rest.rpartition(":")
    identity = {"epoch": int(epoch), "number": number, "digest": digest}
    return build(VersionRecord, {**load(body), "id": identity, "abandoned": abandoned == "1"})


def dump_agent(agent: AgentRecord) -> str:
    """Return what an agent says of itself."""
    values = to_json(agent)
    for key in _AGENT_OUTSIDE_CAPABILITIES:
        del values[key]
    return dump(values)


def load_agent(
    agent_id: str, capabilities: Stored, *, registered_at: Stored, last_seen_at: Stored, revoked: bool
) -> AgentRecord:
    """Return an agent from its capabilities and what the store noted."""
    times = {"registered_at": float(registered_at), "last_seen_at": float(last_seen_at)}
    return build(AgentRecord, {**load(capabilities), **times, "agent_id": agent_id, "revoked": revoked})


def dump_receipt(delta: DeltaRecord) -> str:
    """Return the constant part of a delta's receipt."""
    return dump({"agent_id": delta.agent_id, "sha256": delta.payload.sha256, "accepted_at": delta.accepted_at})


def load_receipt(delta_id: str, receipt: Stored, outcome: Stored | None) -> Receipt:
    """Return a receipt from its constant part and what became of the delta, if anything."""
    fate = load(outcome) if outcome else {"state": DeltaState.QUEUED}
    return build(Receipt, {**load(receipt), **fate, "delta_id": delta_id})


def merged_outcome(version: VersionId) -> str:
    """Return the outcome of deltas merged into `version`."""
    return dump({"state": DeltaState.MERGED, "version": dataclasses.asdict(version)})


def rejected_outcome(reason: str, detail: str) -> str:
    """Return the outcome of a rejected delta."""
    return dump({"state": DeltaState.REJECTED, "reason": reason, "detail": detail})


def dump_delta(delta: DeltaRecord) -> str:
    """Return a delta as it stands in the queue."""
    return dump(_delta_values(delta))


def load_delta(stored: Stored) -> DeltaRecord:
    """Return a delta from the queue."""
    return build(DeltaRecord, _sound(load(stored)))


def dump_dead_letter(letter: DeadLetter) -> str:
    """Return a dead letter."""
    return dump({**to_json(letter), "delta": _delta_values(letter.delta)})


def load_dead_letter(stored: Stored) -> DeadLetter:
    """Return a dead letter."""
    values = load(stored)
    delta = values.get("delta")
    return build(DeadLetter, {**values, "delta": _sound(delta)} if isinstance(delta, dict) else values)


def _delta_values(delta: DeltaRecord) -> dict[str, Any]:
    """Return a delta's values, without a trace context it has not got: what untraced fleets write stays as it was."""
    values = to_json(delta)
    if not values[_TRACE_CONTEXT]:
        del values[_TRACE_CONTEXT]
    return values


def _sound(values: dict[str, Any]) -> dict[str, Any]:
    """Return a delta's values without a trace context that is none, whatever type it is of."""
    return {**values, _TRACE_CONTEXT: sound_traceparent(values.get(_TRACE_CONTEXT, ""))}
