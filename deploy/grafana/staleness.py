"""Dashboard *Staleness*: how old deltas are when they count, what that costs them, and whether alignment helps."""

from __future__ import annotations

from deploy.grafana.boards import Board, Section
from deploy.grafana.panels import Look, Query, bars, heat, lines

F = 'federation="$federation"'


def _quantiles(metric: str, labels: str = "") -> tuple[Query, Query]:
    rate = f"sum by (le) (rate(alignfed_{metric}_bucket{{{F}{labels}}}[$__rate_interval]))"
    return (
        Query(f"histogram_quantile(0.5, {rate}) >= 0", "median"),
        Query(f"histogram_quantile(0.9, {rate}) >= 0", "90 %"),
    )


def _staleness_at(stage: str) -> Query:
    buckets = f'alignfed_delta_staleness_versions_bucket{{{F},stage="{stage}"}}'
    return Query(f"sum by (le) (increase({buckets}[$__rate_interval]))", "{{le}}")


def _median_by_staleness(metric: str) -> Query:
    """Return the median per class of staleness; `> -Inf` drops the NaN of classes without deltas."""
    rate = f"sum by (staleness, le) (increase(alignfed_{metric}_bucket{{{F}}}[$__range]))"
    return Query(f"histogram_quantile(0.5, {rate}) > -Inf", "{{staleness}} versions")


HISTOGRAMS = Section(
    "How stale deltas are",
    [
        heat(
            "Staleness of merged deltas",
            "Versions published between a delta's base and its merge; darker: more deltas. Good: dark below 4, without "
            "a band that climbs.",
            Look(unit="none"),
            _staleness_at("merge"),
        ),
        heat(
            "Staleness of deltas as they arrive",
            "The same at acceptance. What the other shows more than this one is time in the queue.",
            Look(unit="none"),
            _staleness_at("accept"),
        ),
        lines(
            "Staleness at merge",
            "In versions. The default recipe shortens its step above a mean of 1.5: a high mean learns slowly, "
            "whatever the single delta.",
            Look(unit="none", span=8),
            *_quantiles("delta_staleness_versions", ',stage="merge"'),
            Query(f"federation:alignfed_delta_staleness_versions:mean30m{{{F}}}", "mean of 30 minutes"),
        ),
        lines(
            "Age of base versions",
            "How old the version was from which a merged delta was trained. Good: about the time an agent needs per "
            "delta.",
            Look(unit="s", span=8, log=True),
            *_quantiles("delta_staleness_seconds"),
        ),
        lines(
            "Deltas per base version in a merge",
            "Size of version groups. Near the buffer's size: a fresh fleet. Near 1: nearly every delta has a base of "
            "its own.",
            Look(unit="none", span=8),
            *_quantiles("version_group_size"),
        ),
    ],
)

WEIGHTS = Section(
    "What staleness costs",
    [
        bars(
            "Merged deltas by staleness",
            "Share of the deltas merged in the chosen time. Good: most in the first classes.",
            Look(unit="percentunit"),
            Query(
                f"sum by (staleness) (increase(alignfed_staleness_weight_ratio_count{{{F}}}[$__range]))"
                f" / on () group_left () sum(increase(alignfed_staleness_weight_ratio_count{{{F}}}[$__range]))",
                "{{staleness}} versions",
            ),
        ),
        bars(
            "Weight kept by staleness",
            "Mean factor by which a delta's weight is cut for its staleness: 100 % nothing is cut, as with the default "
            "recipe. Low values for classes with many deltas: slow agents hardly count.",
            Look(unit="percentunit", warn=0.5, bad=0.2, falling=True, alert="AlignFedFairnessDrift"),
            Query(
                f"sum by (staleness) (increase(alignfed_staleness_weight_ratio_sum{{{F}}}[$__range]))"
                f" / (sum by (staleness) (increase(alignfed_staleness_weight_ratio_count{{{F}}}[$__range])) > 0)",
                "{{staleness}} versions",
            ),
        ),
    ],
)

ALIGNMENT = Section(
    "What alignment does, by version gap",
    [
        bars(
            "Direction kept by alignment",
            "Median cosine between a version group before and after alignment. 1: left as it was. Below 0.5: alignment "
            "replaces rather than corrects.",
            Look(unit="none", span=8, warn=0.5, bad=0, falling=True),
            _median_by_staleness("alignment_cosine_ratio"),
        ),
        bars(
            "What alignment gains",
            "Median change of alignment's own objective; below 0 is a gain. 0 for recipes whose alignment has no "
            "objective, as the default.",
            Look(unit="none", span=8, warn=0.001, bad=0.1),
            Query(f"{_median_by_staleness('alignment_loss_delta').expr} or vector(0)", "{{staleness}} versions"),
        ),
        bars(
            "Agreement with the merge",
            "Median cosine between a delta and the step its merge took. Good: above 0, and not much lower for stale "
            "deltas. Negative: these deltas pull against the fleet.",
            Look(unit="none", span=8, warn=0.1, bad=0, falling=True),
            _median_by_staleness("delta_agreement_cosine_ratio"),
        ),
        lines(
            "Time per alignment",
            "Time to find one group's map. 0 for recipes without one. It is part of every merge: good is well below "
            "the time between versions.",
            Look(unit="s", span=24),
            *(Query(f"{query.expr} or vector(0)", query.legend) for query in _quantiles("alignment_duration_seconds")),
        ),
    ],
)

STALENESS = Board(
    name="staleness",
    title="Staleness",
    text="How old deltas are when they count, what that costs them, and whether alignment helps.",
    sections=[HISTOGRAMS, WEIGHTS, ALIGNMENT],
)
