"""Every metric of every process, read from the registries themselves: for the documentation and for whoever queries."""

from __future__ import annotations

import dataclasses

from prometheus_client import CollectorRegistry, Histogram, Info
from prometheus_client.metrics import MetricWrapperBase

from alignfed.exposition import new_registry
from coordinator.service.metrics import ServiceMetrics
from coordinator.worker.metrics import WorkerMetrics
from edge_agent.metrics import AgentMetrics

PREFIX = "alignfed_"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is registered; `name` is the one that queries use, without `_bucket`, `_sum` and `_count`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()


def metrics_of(registry: CollectorRegistry) -> list[Metric]:
    """Return the metrics of one registry whose names are ours, sorted by name, used or not."""
    found = [_metric(collector) for collector in _collectors(registry)]
    return sorted(found, key=lambda metric: metric.name)


def metrics_by_process() -> dict[str, list[Metric]]:
    """Return the metrics of each kind of process."""
    return {component: metrics_of(registry) for component, registry in _registries().items()}


def exposed_names() -> dict[str, frozenset[str]]:
    """Return the name of every sample that any process can expose, with the names of its labels.

    Names are those of the text format, as queries use them: with `_total`, `_bucket` (labelled `le` too), `_sum` and
    `_count`. Histograms of values below zero have no `_sum`: it could fall, which a counter must not.
    `_created` samples are left out, and so are figures of the Python process.
    """
    names: dict[str, frozenset[str]] = {}
    for registry in _registries().values():
        for collector in _collectors(registry):
            if collector._labelnames:
                collector.labels(*("any" for _ in collector._labelnames))
            for family in collector.collect():
                names |= {s.name: frozenset(s.labels) for s in family.samples if not s.name.endswith("_created")}
    return names


def _registries() -> dict[str, CollectorRegistry]:
    registries = {name: new_registry(name) for name in ("coordinator", "worker", "agent")}
    ServiceMetrics(registries["coordinator"]).show_certificate_expiry(0.0)
    WorkerMetrics(registries["worker"])
    AgentMetrics(registries["agent"], federation="any")
    return registries


def _collectors(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    known = list(registry._collector_to_names)
    return [one for one in known if isinstance(one, MetricWrapperBase) and one._name.startswith(PREFIX)]


def _metric(collector: MetricWrapperBase) -> Metric:
    suffix = {"counter": "_total", "info": "_info"}.get(collector._type, "")
    buckets = tuple(collector._upper_bounds) if isinstance(collector, Histogram) else ()
    return Metric(
        name=collector._name + suffix,
        kind="gauge" if collector._type == "info" else collector._type,
        labels=_labels(collector),
        meaning=collector._documentation,
        buckets=buckets,
    )


def _labels(collector: MetricWrapperBase) -> tuple[str, ...]:
    if isinstance(collector, Info):  # its labels are its content
        return tuple(label for family in collector.collect() for sample in family.samples for label in sample.labels)
    return tuple(collector._labelnames)
