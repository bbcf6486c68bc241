"""Spans of a merge: one for the whole, linked to what brought its deltas here, and one for each of its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from alignfed.tracing.spans import Around, Span, Tracer, Value, annotate, span
from coordinator.algo.align.alignment import Align, Alignment, leave_alone
from coordinator.algo.grouping import VersionGroup
from coordinator.algo.recipe import Recipe
from coordinator.algo.values import AggregationInput
from coordinator.domain import CommitOutcome, QueuedDelta, VersionRecord

STEPS = {
    "take_in": "load deltas",
    "screen": "screen deltas",
    "aggregate": "aggregate",
    "judge": "judge candidate",
    "publish": "publish version",
}
"""Names of the spans of a merge's timed stages."""


def merge_span(tracer: Tracer, deltas: Sequence[QueuedDelta], *, cause: str, head: int) -> AbstractContextManager[Span]:
    """Return the span of one merge. Many traces lead into it, one per delta: it links to them and is a part of none.

    Args:
        tracer: Makes spans.
        deltas: At least one, all of one federation.
        cause: Why they are merged now.
        head: Number of the version that the merge starts from.
    """
    links: list[tuple[str, dict[str, Value]]] = [
        (
            queued.delta.trace_context,
            {
                "delta_id": queued.delta.delta_id,
                "agent_id": queued.delta.agent_id,
                "base_version": queued.delta.base.number,
                "staleness_versions": head - queued.delta.base.number,
            },
        )
        for queued in deltas
    ]
    around = Around(links=links)
    federation = deltas[0].delta.federation
    return span(tracer, "merge", around, federation=federation, deltas=len(deltas), cause=cause, head_version=head)


def annotate_published(version: VersionRecord, outcome: CommitOutcome) -> None:
    """Note on the merge's span what came of it."""
    merge = version.merge
    loss = None if merge is None else merge.calibration_loss_after
    annotate(version=version.id.number, outcome=outcome.value, calibration_loss=loss)


def traced_alignment(recipe: Recipe, tracer: Tracer) -> Recipe:
    """Return the recipe with a span around the alignment of each stale version group."""
    if recipe.align is leave_alone:
        return recipe
    align = recipe.align

    def traced(inputs: AggregationInput, group: VersionGroup) -> Alignment:
        if group.fresh:
            return align(inputs, group)
        with span(tracer, "align group", base_version=group.base.number, deltas=len(group.deltas)):
            alignment = align(inputs, group)
            annotate(
                method=alignment.record.method,
                cosine=alignment.record.cosine,
                objective_before=alignment.record.objective_before,
                objective_after=alignment.record.objective_after,
            )
            return alignment

    traced_align: Align = traced
    return dataclasses.replace(recipe, align=traced_align)


def step_spans(tracer: Tracer) -> Callable[[str], AbstractContextManager[Span]]:
    """Return what `aggregate` opens around its steps."""
    return lambda step: span(tracer, step)
