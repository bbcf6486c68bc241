"""Error feedback of the agent: what sparse deltas have left out, read before the next one and written with it.

The file of a residual is one line of JSON, which says whose it is, and the residual in the wire's fp32. It is a part of
the state of one agent in one federation: whatever belongs to another federation, base model or manifest starts anew.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from alignfed.chunks import sha256_of
from alignfed.codec import Factors, decode, encode
from alignfed.errors import Rejected
from alignfed.plain import PlainValueError, from_plain
from alignfed.plan import Encoding, FederationPlan, TensorSpec
from edge_agent.domain import PreparedResidual
from edge_agent.outbox.entries import OutboxEntry
from edge_agent.outbox.leftovers import Leftovers

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResidualLabel:
    """Whose a residual is: only a delta of the same federation, base model and tensors may take it up.

    `returned` are deltas that are a part of it already, `sha256` is of the bytes that follow.
    """

    federation: str
    base_model_digest: str
    tensors: tuple[TensorSpec, ...]
    returned: tuple[str, ...]
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What earlier deltas owe to the next one: `factors` fp32, None for nothing; `returned` are ids of those in it."""

    factors: Factors | None = None
    returned: tuple[str, ...] = ()


def read_owed(leftovers: Leftovers, plan: FederationPlan, tensors: tuple[TensorSpec, ...]) -> Owed:
    """Return the residual and the content of returned deltas, of which each counts once whatever crashes.

    Args:
        leftovers: Where they are.
        plan: The federation's; without `topk` nothing is owed.
        tensors: The manifest of the delta that is to be made.
    """
    if plan.delta_encoding is not Encoding.TOPK:
        return Owed()
    label, factors = _read(leftovers.residual, plan, tensors)
    known = label.returned if label is not None else ()
    leftovers.forget(known)  # a crash came before they were
    back = leftovers.returned()
    for entry in back:
        content = _content(entry, plan, tensors)
        if content is not None:
            factors = content if factors is None else {name: factors[name] + content[name] for name in factors}
    return Owed(factors=factors, returned=tuple(entry.meta.delta_id for entry in back))


def pack_residual(
    residual: Factors, plan: FederationPlan, tensors: tuple[TensorSpec, ...], *, returned: Iterable[str]
) -> PreparedResidual:
    """Return a residual as its file holds it; `returned` are ids of returned deltas that it or its delta holds."""
    payload = encode(residual, Encoding.FP32)
    label = ResidualLabel(
        federation=plan.federation,
        base_model_digest=plan.base_model.digest,
        tensors=tensors,
        returned=tuple(returned),
        sha256=sha256_of(payload),
    )
    line = json.dumps(dataclasses.asdict(label), separators=(",", ":")).encode() + b"\n"
    return PreparedResidual(content=line + payload, returned=label.returned)


def unpack_residual(content: bytes | bytearray) -> tuple[ResidualLabel, bytes | bytearray] | None:
    """Return whose a residual is and its payload, of the digest that its label says; None when it is damaged."""
    line, _, payload = content.partition(b"\n")
    try:
        label = from_plain(ResidualLabel, json.loads(line))
    except (ValueError, RecursionError, PlainValueError):
        return None
    return (label, payload) if sha256_of(payload) == label.sha256 else None


def _read(
    file: Path, plan: FederationPlan, tensors: tuple[TensorSpec, ...]
) -> tuple[ResidualLabel | None, Factors | None]:
    """Return the residual if it is this federation's; otherwise it is not taken up, and the next one replaces it."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None, None
    found = unpack_residual(content)
    if found is not None:
        label, payload = found
        whose = (label.federation, label.base_model_digest, label.tensors)
        if whose != (plan.federation, plan.base_model.digest, tensors):
            logger.warning("the residual in %s is of another federation, base model or rank: it starts anew", file)
            return label, None
        with suppress(Rejected):
            return label, decode(payload, tensors, Encoding.FP32)
    logger.warning("the residual in %s is damaged: what earlier deltas left out is lost", file)
    return None, None


def _content(entry: OutboxEntry, plan: FederationPlan, tensors: tuple[TensorSpec, ...]) -> Factors | None:
    """Return what a returned delta holds, None when it does not belong here or is damaged."""
    meta = entry.meta
    if (meta.base_model_digest, meta.tensors) != (plan.base_model.digest, tensors):
        logger.warning("a delta that came back has other tensors than the next: it is let go", extra=_ids(entry))
        return None
    try:
        return decode(entry.payload.read_bytes(), tensors, Encoding.TOPK, topk_ratio=plan.topk_ratio)
    except (OSError, Rejected):
        logger.warning("a delta that came back is damaged: it is let go", extra=_ids(entry))
        return None


def _ids(entry: OutboxEntry) -> dict[str, str]:
    return {"delta_id": entry.meta.delta_id}
