"""One delta's life in words for people, and as plain values for scripts."""

from __future__ import annotations

import dataclasses
import statistics
import textwrap
import time
from typing import Any

from coordinator.cli.operator_views import DeltaFate, DeltaView, FederationView, QueuePlaceView, VersionView
from coordinator.cli.tables import ago, plain
from coordinator.cli.taken import in_words, taken
from coordinator.domain import GroupRecord, MergedDelta, MergeRecord
from coordinator.retention import LET_GO

WIDTH = 110
_LEFT_ALONE = 0.9995
"""Cosine above which a group counts as unchanged by its alignment."""

Fact = tuple[str, str]


def describe(delta: DeltaView, federation: FederationView) -> str:
    """Return what became of a delta, and why, as text."""
    name = federation.plan.federation
    facts: list[Fact] = [("delta", delta.delta_id), ("agent", delta.agent_id), ("federation", name)]
    if delta.accepted_at is not None:
        facts.append(("accepted", _when(delta.accepted_at)))
    match delta.fate:
        case DeltaFate.UPLOADING:
            facts += _uploading(delta, federation)
        case DeltaFate.QUEUED | DeltaFate.CLAIMED:
            facts += _waiting(delta, federation)
        case DeltaFate.DEAD_LETTER:
            facts += _dead(delta, name)
        case DeltaFate.REJECTED:
            facts += [("state", f"rejected for good: {delta.reason}"), ("why", delta.detail or "-")]
        case DeltaFate.MERGED:
            facts += _merged(delta, name)
    return "\n".join(_wrapped(title, value) for title, value in facts)


def as_plain(delta: DeltaView, federation: FederationView) -> dict[str, Any]:
    """Return what became of a delta as plain values: of its merge only what concerns it."""
    values: dict[str, Any] = plain(delta)
    values |= {"federation": federation.plan.federation, "paused": delta.head.paused}
    version, part = delta.version, part_in(delta)
    if version is None or version.merge is None or part is None:
        return values
    merge, group = version.merge, group_of(version.merge, part)
    found = taken(part, merge.deltas)
    values["version"] = plain(dataclasses.replace(version, merge=None))
    values["merge"] = {
        "recipe": merge.recipe,
        "server_learning_rate": merge.server_learning_rate,
        "calibration_loss_before": merge.calibration_loss_before,
        "calibration_loss_after": merge.calibration_loss_after,
        "calibration_loss_served": merge.calibration_loss_served,
        "delta": plain(part),
        "group": plain(group),
        "taken": plain(found),
        "taken_in_words": in_words(found),
    }
    return values


def part_in(delta: DeltaView) -> MergedDelta | None:
    """Return the delta's part in the merge that contains it; None when it is not merged."""
    merge = delta.version.merge if delta.version is not None else None
    return next((it for it in merge.deltas if it.delta_id == delta.delta_id), None) if merge is not None else None


def group_of(merge: MergeRecord, part: MergedDelta) -> GroupRecord | None:
    """Return the version group that a delta was in; None where the record names none."""
    return next((group for group in merge.groups if group.base == part.base), None)


def _uploading(delta: DeltaView, federation: FederationView) -> list[Fact]:
    begun_at = delta.upload_begun_at or 0.0
    left_seconds = federation.plan.limits.upload_lifetime_seconds - (time.time() - begun_at)
    return [
        ("state", f"being uploaded since {_when(begun_at)}; not accepted yet"),
        (
            "next",
            "the agent sends the rest, or resumes where it was cut off; what has arrived is kept for "
            f"{max(0.0, left_seconds) / 3600:.1f} h more. If it does not go on, look into the agent's log",
        ),
    ]


def _waiting(delta: DeltaView, federation: FederationView) -> list[Fact]:
    place = delta.place
    if place is None:
        return [("state", "accepted, and being settled right now: ask again")]
    state = f"waits in the queue, {place.place} of {place.queued}"
    if place.claimed_by:
        state = f"claimed by worker {place.claimed_by} for one of its next merges, {place.place} of {place.queued}"
    tries = f"; {place.attempts} merge{'s' if place.attempts > 1 else ''} begun with it" if place.attempts else ""
    return [
        ("state", state + tries),
        ("base version", f"{place.base.number}, {_behind(place.staleness_versions)} as of now"),
        ("examples", str(place.examples)),
        ("next", _next_of(place, federation)),
    ]


def _next_of(place: QueuePlaceView, federation: FederationView) -> str:
    name, buffer = federation.plan.federation, federation.plan.buffer
    if federation.head.hold_reason:
        return f"nothing is merged, because {federation.head.hold_reason}. Go on with `alignfed resume {name}`"
    if federation.head.paused:
        return f"nothing is merged while the federation is paused: go on with `alignfed resume {name}`"
    if place.attempts:
        return "an earlier merge with it failed: look into the worker's log"
    if not place.claimed_by and place.place > 2 * buffer.size:
        return "more waits before it than one merge takes: see with `alignfed top` whether versions are published"
    return f"a merge begins when {buffer.size} deltas wait, or the oldest has waited {buffer.timeout_seconds:g} s"


def _dead(delta: DeltaView, name: str) -> list[Fact]:
    letter = delta.letter
    assert letter is not None, "a dead letter comes with itself"
    return [
        ("state", f"dead letter since {_when(letter.buried_at)}: not merged, payload kept"),
        ("why", letter.detail),
        (
            "next",
            f"mend what the worker's log says, then `alignfed dead-letters requeue {name} {delta.delta_id}`; or give "
            f"it up with `alignfed dead-letters drop {name} {delta.delta_id}`",
        ),
    ]


def _merged(delta: DeltaView, name: str) -> list[Fact]:
    version, part = delta.version, part_in(delta)
    assert version is not None, "a merged delta comes with its version"
    facts = [("state", f"merged into version {version.id.number}, published {_when(version.created_at)}")]
    facts.append(("since then", _since_then(delta, version, name)))
    merge = version.merge
    if merge is not None and LET_GO in merge.unrecorded:
        return [
            *facts,
            (
                "why",
                "not known any more: the version's record has let go of its deltas, because it is older "
                "than retention.record_versions",
            ),
        ]
    if merge is None or part is None:
        return [*facts, ("why", "the version's merge record does not name it: the store has lost a part of it")]
    facts += [
        ("base version", f"{part.base.number}, {_behind(part.staleness_versions)} at the merge"),
        ("group", _group(merge, part)),
        ("alignment", _alignment(group_of(merge, part))),
        ("freshness", f"{part.freshness:.4f}" + (" (no discount)" if part.freshness == 1.0 else "")),
        ("fairness", f"{part.fairness:.4f}"),
        ("examples", f"{part.examples} of {sum(it.examples for it in merge.deltas)} in the merge"),
        ("weight", f"{part.weight:.4f} before calibration; an even share of {len(merge.deltas)} is "
                   f"{1 / len(merge.deltas):.4f}"),
        ("coefficient", f"{part.coefficient:.4f}: {in_words(taken(part, merge.deltas))}"),
        ("cosine", f"{part.cosine:+.4f} with the merged delta: {_agreement(part.cosine)}"),
        ("norm", _norm(merge, part)),
        ("loss", _loss(merge)),
    ]  # fmt: skip
    return facts


def _since_then(delta: DeltaView, version: VersionView, name: str) -> str:
    if version.abandoned:
        by = f"the rollback that published version {delta.abandoned_by}" if delta.abandoned_by else "a rollback"
        return f"abandoned by {by}: the head, version {delta.head.id.number}, does not contain this delta"
    behind = delta.head.id.number - version.id.number
    if not behind:
        return "that version is the head"
    return f"{_versions(behind)} published after it; the head, version {delta.head.id.number} of {name}, contains it"


def _group(merge: MergeRecord, part: MergedDelta) -> str:
    members = sum(it.base == part.base for it in merge.deltas)
    if members == 1:
        return f"alone: no other of the {len(merge.deltas)} deltas was trained from version {part.base.number}"
    return f"{members} of the {len(merge.deltas)} deltas were trained from version {part.base.number}"


def _alignment(group: GroupRecord | None) -> str:
    if group is None:
        return "not recorded"
    if group.method == "none":
        return "none: the group was taken as it came"
    effect = "which left it as it was" if group.cosine >= _LEFT_ALONE else "between the group before and after"
    text = f"{group.method}, cosine {group.cosine:.4f} {effect}"
    if group.objective_before is not None and group.objective_after is not None:
        text += f"; objective {group.objective_before:.4f} before, {group.objective_after:.4f} after"
    return text


def _norm(merge: MergeRecord, part: MergedDelta) -> str:
    text = f"{part.norm:.4g}; the median of the merge is {statistics.median(it.norm for it in merge.deltas):.4g}"
    return text if part.clip == 1.0 else f"{text}; shortened to {part.clip:.3g} of it (screening.clip_norm_ratio)"


def _agreement(cosine: float) -> str:
    if cosine < 0:
        return "it pulled against what was merged"
    return "it pulled mostly elsewhere" if cosine < 0.3 else "it pulled the same way"


def _loss(merge: MergeRecord) -> str:
    before, after = merge.calibration_loss_before, merge.calibration_loss_after
    if before is None or after is None:
        return "not judged: the federation has no rows to judge on" if after is None else f"{after:.4f} after the merge"
    better = "better" if after < before else "worse" if after > before else "no different"
    return f"{before:.4f} before the merge, {after:.4f} after: the version is {better} on the calibration set"


def _behind(staleness_versions: int) -> str:
    return f"{_versions(staleness_versions)} behind the head" if staleness_versions else "the head"


def _versions(count: int) -> str:
    return f"{count} version{'' if count == 1 else 's'}"


def _when(at: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} ({ago(at)})"


def _wrapped(title: str, value: str) -> str:
    return textwrap.fill(value, WIDTH, initial_indent=title.ljust(14), subsequent_indent=" " * 14,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip
