"""Names, units, labels and buckets of every metric follow the conventions that queries and people rely on."""

from __future__ import annotations

import itertools

import pytest

from tests.support.metric_labels import values_of
from tests.support.metric_names import Metric, exposed_names, metrics_by_process
from tests.support.metrics_docs import UNITS, UNITS_BY_NAME, unit_of

BY_PROCESS = metrics_by_process()
METRICS = sorted({metric for metrics in BY_PROCESS.values() for metric in metrics}, key=lambda metric: metric.name)

ABOUT_THE_PROCESS = {
    "alignfed_build_info",
    "alignfed_rpc_server_duration_seconds",
    "alignfed_store_command_duration_seconds",
    "alignfed_store_connected",
    "alignfed_store_memory_limit_bytes",
    "alignfed_store_memory_used_bytes",
    "alignfed_tls_certificate_expiry_timestamp_seconds",
    "alignfed_uploads_in_progress",
}
"""Metrics without a federation: they are about a process, its store or its calls, before anybody is named."""

NEVER_LABELS = {"agent", "agent_id", "delta", "delta_id", "version_number", "base_version", "worker_id", "instance"}
OTHER_UNITS = ("_milliseconds", "_ms", "_minutes", "_kilobytes", "_mb", "_mib", "_percent", "_count")
LONGEST_SERIES = 24
"""Buckets of one histogram: each is a series per combination of labels."""


def of_kind(*kinds: str) -> list[Metric]:
    return [metric for metric in METRICS if metric.kind in kinds]


def named(metric: Metric) -> str:
    return metric.name


def test_a_name_means_the_same_in_every_process() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names)), "two processes register one name with other labels, buckets or meaning"


@pytest.mark.parametrize("metric", METRICS, ids=named)
def test_names_have_the_prefix_a_base_unit_and_a_meaning(metric: Metric) -> None:
    assert metric.name.startswith("alignfed_")
    assert not metric.name.removesuffix("_total").endswith(OTHER_UNITS)
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert unit_of(metric)
    assert metric.meaning.endswith(".")


def test_no_unit_is_explained_that_no_metric_has() -> None:
    assert set(UNITS_BY_NAME) <= {metric.name for metric in METRICS}
    stems = [metric.name.removesuffix("_total") for metric in METRICS]
    assert all(any(stem.endswith(ending) for stem in stems) for ending in UNITS)


@pytest.mark.parametrize("metric", METRICS, ids=named)
def test_labels_are_of_closed_sets_and_begin_with_the_federation(metric: Metric) -> None:
    assert not NEVER_LABELS & set(metric.labels)
    assert ("version" in metric.labels) == (metric.name == "alignfed_build_info")
    assert (metric.labels[:1] == ("federation",)) == (metric.name not in ABOUT_THE_PROCESS)
    assert all(values_of(metric.name, label).meaning for label in metric.labels)


@pytest.mark.parametrize("metric", of_kind("histogram"), ids=named)
def test_buckets_rise_are_few_and_fit_the_unit(metric: Metric) -> None:
    bounds = metric.buckets[:-1]
    assert metric.buckets[-1] == float("inf")
    assert all(low < high for low, high in itertools.pairwise(bounds))
    assert 6 <= len(bounds) <= LONGEST_SERIES
    name = metric.name
    if name.endswith("_versions"):
        assert bounds == (0, 1, 2, 4, 8, 16, 32, 64)
    if "cosine" in name:
        assert (bounds[0], bounds[-1]) == (-1, 1)
    if name.endswith(("_change", "_loss_delta")):
        assert bounds == tuple(-bound for bound in reversed(bounds)), "better and worse are told apart alike"
    if name.endswith("_seconds"):
        assert bounds[0] > 0
        assert bounds[-1] / bounds[0] >= 1000, "from the quickest to the slowest that happens"


def test_what_the_objectives_are_measured_by_is_a_bound_of_a_bucket() -> None:
    buckets = {metric.name: metric.buckets for metric in METRICS}
    assert 300 in buckets["alignfed_delta_end_to_end_seconds"], "merged within five minutes"
    assert {0.1, 0.25, 0.5} <= set(buckets["alignfed_poll_overhead_seconds"])


def test_exposed_names_are_those_of_the_text_format() -> None:
    names = exposed_names()
    assert names["alignfed_uploads_total"] == {"federation", "outcome"}
    assert names["alignfed_delta_staleness_versions_bucket"] == {"federation", "stage", "le"}
    assert names["alignfed_delta_staleness_seconds_sum"] == {"federation"}
    assert names["alignfed_build_info"] >= {"component", "version"}
    assert "alignfed_alignment_cosine_ratio_sum" not in names, "its values may be below zero"
    assert not [name for name in names if name.endswith("_created")]
    stems = {name.removesuffix(part) for name in names for part in ("", "_bucket", "_count", "_sum")}
    assert {metric.name for metric in METRICS} <= stems
