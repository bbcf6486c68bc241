"""Domain values to and from what the store holds: JSON, and `epoch:number:digest` for what scripts compare."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from alignfed.errors import StoreCorrupt
from alignfed.plain import from_plain
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
    version_values,
)

T = TypeVar("T")
N = TypeVar("N", int, float)

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
        values = json.loads(stored, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
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
    except ValueError as error:
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
    text = _text(stored)
    epoch, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    return VersionId(epoch=_number(int, epoch), number=_number(int, number), digest=digest)


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
    values = version_values(version)
    for key in _VERSION_OUTSIDE_BODY:
        del values[key]
    return dump(values)


def load_version(number: int, body: Stored, lineage: Stored) -> VersionRecord:
    """Return a version from its body and its lineage, `epoch:digest:abandoned`."""
    epoch, _, rest = _text(lineage).partition(":")
    digest, _, abandoned = rest.rpartition(":")
    identity = {"epoch": _number(int, epoch), "number": number, "digest": digest}
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
    times = {"registered_at": _number(float, registered_at), "last_seen_at": _number(float, last_seen_at)}
    return build(AgentRecord, {**load(capabilities), **times, "agent_id": agent_id, "revoked": revoked})


def dump_receipt(delta: DeltaRecord) -> str:
    """Return the constant part of a delta's receipt."""
    return _constant_part(delta.agent_id, delta.payload.sha256, delta.accepted_at)


def split_receipt(receipt: Receipt) -> tuple[str, str | None]:
    """Return the constant part of a receipt, and what became of the delta or None while it is queued."""
    constant_part = _constant_part(receipt.agent_id, receipt.sha256, receipt.accepted_at)
    if receipt.state is DeltaState.MERGED and receipt.version is not None:
        return constant_part, merged_outcome(receipt.version)
    if receipt.state is DeltaState.REJECTED:
        return constant_part, rejected_outcome(receipt.reason, receipt.detail)
    return constant_part, None


def _constant_part(agent_id: str, sha256: str, accepted_at: float) -> str:
    return dump({"agent_id": agent_id, "sha256": sha256, "accepted_at": accepted_at})


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


def _text(stored: Stored) -> str:
    """Return what the store holds as text; what is none becomes something that nothing reads."""
    return stored.decode("utf-8", "backslashreplace") if isinstance(stored, bytes) else stored


def _finite(text: str) -> float:
    """Return a number of JSON; NaN and infinity are never written, and end as a record that is not JSON."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _number(kind: Callable[[str], N], stored: Stored) -> N:
    """Return a number that the store holds as text.

    Raises:
        StoreCorrupt: It is none.
    """
    text = _text(stored)
    try:
        number = kind(text)
        if math.isfinite(number) and (kind is not int or (text.isascii() and text.isdecimal())):
            return number
    except (ValueError, OverflowError):
        pass
    raise StoreCorrupt(f"the store holds {text[:80]!r} where a number is due: restore it from a backup")


def _delta_values(delta: DeltaRecord) -> dict[str, Any]:
    """Return a delta's values, without a trace context it has not got: what untraced fleets write stays as it was."""
    values = to_json(delta)
    if not values[_TRACE_CONTEXT]:
        del values[_TRACE_CONTEXT]
    return values


def _sound(values: dict[str, Any]) -> dict[str, Any]:
    """Return a delta's values without a trace context that is none, whatever type it is of."""
    return {**values, _TRACE_CONTEXT: sound_traceparent(values.get(_TRACE_CONTEXT, ""))}
