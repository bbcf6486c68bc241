"""Screening: each delta of a buffer is looked at before the merge, and kept, shortened or refused with a reason.

    near zero     shorter than `min_delta_norm_ratio` usual norms: takes part without having trained
    copy          almost the same direction as an earlier delta's: one training counted twice, or a fleet of sybils
    too long      longer than `clip_norm_ratio` usual norms: kept, and shortened to them in the merge
    against       the evidence that its agent works against the calibration set is above `max_suspicion`

Pure: what has to be remembered from merge to merge goes in and comes out. Nothing is remembered of a buffer before the
caller says what became of it (`after_merge`), so a merge that is tried again counts once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import torch

from alignfed.errors import DeltaAgainstCalibration, DeltaDuplicated, DeltaNearZero, Rejected
from alignfed.screening import Screening
from coordinator.algo.screening.evidence import Evidence, weighed
from coordinator.algo.screening.references import References
from coordinator.algo.screening.sketch import sketch
from coordinator.algo.values import DeltaInput, norm_of

KEPT_SKETCHES = 256
"""Newest merged deltas that copies are looked for among: half a megabyte."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What screening remembers: sketches of the last merged deltas by delta id, oldest first, and the evidence."""

    sketches: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    evidence: Evidence = dataclasses.field(default_factory=Evidence)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """What deltas are measured by.

    Attributes:
        usual_norm: Median norm of the buffer and the last merges; None while there are too few.
        references: Reference directions; None for a federation without calibration rows for them.
        seed: Of the sketches; agents must not know it, and it must stay the same while a memory is used.
    """

    usual_norm: float | None
    references: References | None
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What came of a buffer.

    Attributes:
        kept: Deltas that may merge, in the order they were given, with the norm that each is shortened to.
        refused: The others by delta id, with the error that says why.
        cosines: By delta id, with the descent direction at the delta's base version; empty without references.
        sketches: Of the kept deltas, by delta id.
        evidence: With this buffer's deltas weighed in.
    """

    kept: tuple[DeltaInput, ...]
    refused: Mapping[str, Rejected]
    cosines: Mapping[str, float]
    sketches: Mapping[str, torch.Tensor]
    evidence: Evidence


def screen(deltas: Sequence[DeltaInput], memory: Memory, settings: Screening, standard: Standard) -> Screened:
    """Screen a buffer.

    Loads every delta once or twice. One gradient on the reference rows for every base version not seen lately.

    Args:
        deltas: The buffer in order of arrival: of two copies the earlier one is kept.
        memory: What became of earlier buffers.
        settings: The plan's.
        standard: What deltas are measured by.
    """
    refused: dict[str, Rejected] = {}
    cosines: dict[str, float] = {}
    sketches: dict[str, torch.Tensor] = {}
    evidence, kept = memory.evidence, []
    for delta in deltas:
        error = _near_zero(delta, settings, standard.usual_norm)
        if error is None and settings.max_duplicate_cosine > 0:
            sketches[delta.delta_id] = sketch(delta.load(), seed=standard.seed)
            error = _copy(delta.delta_id, {**memory.sketches, **sketches}, settings.max_duplicate_cosine)
        if error is None and standard.references is not None:
            found = standard.references.at(delta.base).descent(delta.load(), norm_of(delta))
            cosines[delta.delta_id] = found
            evidence = weighed(evidence, delta.agent_id, found, bound=settings.max_suspicion)
            error = _against(delta, found, evidence, settings.max_suspicion)
        if error is None:
            kept.append(_shortened(delta, settings, standard.usual_norm))
        else:
            refused[delta.delta_id] = error
            sketches.pop(delta.delta_id, None)
    return Screened(kept=tuple(kept), refused=refused, cosines=cosines, sketches=sketches, evidence=evidence)


def after_merge(memory: Memory, screened: Screened, merged: Collection[str]) -> Memory:
    """Return the memory once a buffer is settled; `merged` are the ids of those of its deltas that were published."""
    added = {delta_id: kept for delta_id, kept in screened.sketches.items() if delta_id in merged}
    sketches = {**memory.sketches, **added}
    newest = list(sketches.items())[-KEPT_SKETCHES:]
    return Memory(sketches=dict(newest), evidence=screened.evidence)


def _near_zero(delta: DeltaInput, settings: Screening, usual_norm: float | None) -> Rejected | None:
    size = norm_of(delta)
    least = settings.min_delta_norm_ratio * (usual_norm or 0.0)
    if settings.min_delta_norm_ratio == 0 or (size > 0 and size >= least):
        return None
    return DeltaNearZero(
        f"the delta's norm is {size:.4g}, less than {settings.min_delta_norm_ratio:g} of the median of its buffer and "
        "the last merges (screening.min_delta_norm_ratio): it trained nothing; look at this agent's data and its "
        "learning rate"
    )


def _copy(delta_id: str, sketches: Mapping[str, torch.Tensor], max_cosine: float) -> Rejected | None:
    """Compare a delta with those before it; the same delta sent again has the same id and is no copy of itself."""
    others = {other: vector for other, vector in sketches.items() if other != delta_id}
    if not others:
        return None
    cosines = torch.stack(list(others.values())) @ sketches[delta_id]
    closest = int(cosines.argmax())
    if not float(cosines[closest]) > max_cosine:
        return None
    return DeltaDuplicated(
        f"the delta points where delta {list(others)[closest]} points, with a cosine of {float(cosines[closest]):.3f} "
        f"(screening.max_duplicate_cosine is {max_cosine:g}): one training is merged once; look for agents that share "
        "data and seed, or send what others trained"
    )


def _against(delta: DeltaInput, cosine: float, evidence: Evidence, max_suspicion: float) -> Rejected | None:
    suspicion = evidence.suspicion.get(delta.agent_id, 0.0)
    if suspicion <= max_suspicion:
        return None
    return DeltaAgainstCalibration(
        f"deltas of this agent point against the calibration set, this one with a cosine of {cosine:.3f} at its own "
        f"base version: suspicion {suspicion:.2f}, allowed are {max_suspicion:g} (screening.max_suspicion); look at "
        "its data, or add rows of its domain to the calibration set"
    )


def _shortened(delta: DeltaInput, settings: Screening, usual_norm: float | None) -> DeltaInput:
    if settings.clip_norm_ratio == 0 or not usual_norm:
        return delta
    return dataclasses.replace(delta, max_norm=settings.clip_norm_ratio * usual_norm)
